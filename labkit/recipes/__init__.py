"""How what ships and what is recorded was made; each module is run with `python -m labkit.recipes.NAME`.

full_size_qlora      memory and time of training adapters beside models of full size, on a GPU (Lab 03)
full_size_diffusion  latency of Stable Diffusion at full size, technique by technique, on a GPU (Lab 04)
"""
