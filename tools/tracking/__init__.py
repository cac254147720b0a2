"""Tracking: the trainer writes a journal, a sender of its own process carries it to MLflow.

    rank 0 of the trainer                     the sender (python -m ...tracking RUN_DIR --follow)
    Journal.metrics(...) ---append---> RUN_DIR/tracking/journal.jsonl ---tail---> MLflow
                                       RUN_DIR/tracking/sent.json     <--offset--

The journal is the truth. Appending a line takes microseconds and can't fail for want of a server; what was not sent
stays in the journal, and ``sync`` sends it later. Files: `journal` (what the trainer calls), `records` (the lines),
`sent` (how far the sender came), `batches` (lines to calls), `sender` (the loop), `mlflow_client` (the one file that
imports mlflow), `uri` (which tracker, and how to look at it), `errors` (what can go wrong at the tracker).
"""
