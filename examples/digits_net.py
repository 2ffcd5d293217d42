"""Shared by the examples: scikit-learn's handwritten digits, and a small network that reads them."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def digits():
    """Give images (1797, 1, 8, 8) in 0…1 and labels (1797,)."""
    data = load_digits()
    return torch.from_numpy(data.images / 16).float().unsqueeze(1), torch.from_numpy(data.target).long()


def loader():
    """Give batches (images, ids, labels): an id is the index of the image in the data set."""
    images, labels = digits()
    return DataLoader(TensorDataset(images, torch.arange(len(images)), labels), batch_size=256)


def trained(*, epochs=4, seed=0):
    """Give a network that names about 97 % of the digits rightly, in a few seconds."""
    images, labels = digits()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential()
        model.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        model.relu1 = nn.ReLU()
        model.pool = nn.MaxPool2d(2)
        model.flatten = nn.Flatten()
        model.fc1 = nn.Linear(256, 64)
        model.relu2 = nn.ReLU()
        model.fc2 = nn.Linear(64, 10)
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
        for _ in range(epochs):
            for rows in torch.randperm(len(images)).split(32):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(images[rows]), labels[rows]).backward()
                optimizer.step()
    return model
