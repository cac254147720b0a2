"""megatron-core behind one wall: processes, model, optimizer, steps, checkpoints. Nothing outside imports megatron."""
