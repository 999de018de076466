from labkit.recipes.text_to_image.train import main

main()
