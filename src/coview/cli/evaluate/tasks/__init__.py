"""The tasks of `coview evaluate image-transfer`: one file each, with a function `main(argv)`."""
