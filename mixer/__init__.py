"""What is read: apportionment, shuffles, sources, packing, the stream, the loader, the ledger.

This file re-exports nothing, because another distribution ships a package of the same name and overwrites it;
import from the submodules, as in ``from mixer.apportion import Apportionment``.
"""
