"""Which strategies there are: the registry's file, read strictly, merged with what a person wrote meanwhile."""
