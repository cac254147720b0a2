"""The layer analyzer: how far the output of each layer still differs from its input, and how sure that is.

    probe      rows of token sources, read a micro-batch at a time, each token with the document it belongs to
      |
    taps       hooks on the layers of a model: three dot products a token, of layer, attention and MLP
      |
    measures   cosine, angle and ratios of norms, out of those three numbers
      |
    strata     which source, loss, entropy, position and class a token belongs to
      |
    sums       fp64 sums by document group, histograms, the Gram matrix of sampled tokens: added, never gathered
      |
    uncertainty, ranking, spans, findings   numpy: document bootstrap, ranks and ties, layers that act as one
      |
    report, sentences, figures, page        report.json and CSV; what page and terminal say alike; PNG; one HTML file

``analysis`` is all of it but the report in one call, ``command`` the program, ``progress`` its bar.

Dot products are taken in fp32, sums in fp64. Memory doesn't grow with the number of tokens: documents are counted in
``document_groups``, which are what the bootstrap draws. Every sum is over tokens, so that ranks, micro-batches and
runs are merged by addition. What is imported here is torch above ``sums`` and numpy below it; models and data are
opened by ``hf_model``, ``own_model`` and ``probe``.
"""
