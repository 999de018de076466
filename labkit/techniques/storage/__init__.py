"""Weights in as few bytes as they need, in files that load again.

safetensors       a safetensors file, compressed with zstd where asked
huffman           entropy, and Huffman's code: short words for frequent symbols
deep_compression  a Deep Compression file: codebooks, sparse positions, Huffman codes
"""
