"""The console: pages for people. (Being written.)"""
from __future__ import annotations
from fastapi import FastAPI
from modelyard.yard import Yard

def mount(app: FastAPI, yard: Yard) -> None:
    return None
