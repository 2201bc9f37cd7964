"""How symmetric is a model that was never written for it? A scikit-learn pipeline under quarter turns, unchanged."""

import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import coset
from coset.interop.sklearn import wrap

digits = load_digits()
pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)).fit(digits.data, digits.target)

contract = coset.Contract(coset.C(4), inputs="image", outputs="B x 10 x scalar")
images = torch.tensor(digits.images[:200])

found = coset.audit(wrap(pipeline), images, contract)
print(found)

# the same pipeline, averaged over the four turns: exactly invariant, and not retrained
averaged = coset.symmetrize(wrap(pipeline), contract, how="average")
print(coset.audit(averaged, images, contract))
