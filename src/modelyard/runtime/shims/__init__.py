"""Stand-ins for Python packages of SageMaker's containers, for scripts that import them where they are not installed.

This folder is on PYTHONPATH after the user's own code. A package here steps aside where a real one of its name is installed.
"""
