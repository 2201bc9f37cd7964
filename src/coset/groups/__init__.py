"""What acts: finite, permutation, matrix and Euclidean groups, their products, Haar sampling, grids and decompositions."""
