"""Batch: whole files of rows through a version, to files of predictions. No endpoint takes part.

A job is a process of its own (`job`): it reads a file piece by piece (`reading`), has workers answer the pieces (`worker`, by a row plan or
by runners), puts the answers together in their order (`writing`), and shows a file when it is whole. What is done stays done (`ledger`).
"""
