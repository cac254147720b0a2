"""From text to token files: what `annealmix prepare` does.

One line of JSON on its way to `data/mine/web.bin`, and the file that takes each step:

    '{"text": "a b"}'             inputs.py       JSONL, .gz, .zst, parquet, a saved or a hub dataset; cut into chunks
    "a b"                         text.py         or chat.py: the record checked, encoded, its end token appended
    [66, 222, 67, 0]              workers.py      several processes, answers in the order of the input
    one flat file, in read order  spool.py        duplicates gone; lengths kept
    web.bin, web.idx, web.json    writer.py       documents shuffled by seed; Megatron's own builder; the manifest

pipeline.py joins the steps. python_corpus.py makes four sources out of the Python installation (python_source.py reads
modules, python_packages.py finds what is installed) and sends them the same way. `annealmix check` reads everything
back.
"""
