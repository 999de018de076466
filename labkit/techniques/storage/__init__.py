"""Weights in few bytes, in files that load again.

safetensors       a safetensors file, compressed with zstd where asked
huffman           entropy, and Huffman's code: short codes for frequent symbols
deep_compression  a Deep Compression file: codebooks, sparse positions, Huffman codes
"""
