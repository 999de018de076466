"""How what ships and what is recorded was made; each module is run with `python -m labkit.recipes.NAME`.

fashion_mnist_subset  the part of Fashion-MNIST that ships
classifiers           networks of ten classes, trained
pruned_classifiers    the same, pruned while they train on
text_to_image         the text-to-image model, its adapter, its small U-Net and its judge
stack_studies         orders, pairs, ablations and a search of stacks, as Lab 05 reads them
full_size_qlora       memory and time of training adapters beside models of full size, on a GPU (Lab 03)
fine_tuning           fine-tuning in 16, 8 and 4 bits to the end, each at its best learning rate, on a GPU (Lab 03)
full_size_diffusion   latency of Stable Diffusion at full size, technique by technique, on a GPU (Lab 04)
"""
