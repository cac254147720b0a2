"""`annealmix plan`: a recipe checked, and the whole run shown before it is paid for. No torch, no megatron."""
