"""One local service: a page for people and a REST API for programs, both over the same engine as the command line.

A request passes the gate (``gate.py``: who may ask; ``traffic.py``: how much and how fast), waits its turn among the
clients (``turns.py``), and is computed by a worker process (``worker.py``) that the service starts, watches and ends
(``lanes.py``). What comes out is kept for whoever asks the same again (``kept_files.py``). The service itself imports
neither numpy nor OpenVINO, so that it is small while nothing is asked of it.
"""
