"""The parts of the study on detection (../study.py): the sets, the shifts, our judge, and what is made of the answers."""
