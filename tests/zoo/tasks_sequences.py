"""Sequences: recurrent networks, transformers, language models, bags of words."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils.data import DataLoader, Dataset

import steepest as sd
from tests.zoo.case import Case
from tests.zoo.datasets import generator, series, texts, words
from tests.zoo.tasks_basic import accuracy


class Carried(nn.Module):
    """An LSTM whose state goes on from batch to batch while it trains."""

    def __init__(self):
        super().__init__()
        self.lstm, self.out, self.state = nn.LSTM(1, 12, batch_first=True), nn.Linear(12, 1), None

    def forward(self, x):
        h, state = self.lstm(x, self.state if self.training else None)
        if self.training:
            self.state = tuple(s.detach() for s in state)
        return self.out(h)


def carried_state() -> sd.Task:
    """Eight long series, cut into windows of ten steps that follow one another."""
    torch.manual_seed(0)
    x, _ = series(8, length=101)
    data = [(x[:, t : t + 10], x[:, t + 1 : t + 11]) for t in range(0, 100, 10)]
    v, _ = series(32, length=41, seed=1)
    return sd.Task(Carried(), data, nn.MSELoss(), validation=(v[:, :40], v[:, 1:]))


class Reader(nn.Module):
    """A GRU over padded texts, read at each text's last word."""

    def __init__(self):
        super().__init__()
        self.words, self.gru = nn.Embedding(16, 8, padding_idx=0), nn.GRU(8, 12, batch_first=True)
        self.out = nn.Linear(12, 2)

    def forward(self, x, lengths):
        h, _ = self.gru(self.words(x))
        return self.out(h[torch.arange(len(x)), lengths - 1])


def padded_gru() -> sd.Task:
    torch.manual_seed(0)
    return sd.Task(
        Reader(), texts(256), F.cross_entropy, validation=texts(80, seed=1), metrics={"accuracy": sd.accuracy}
    )


def read_accuracy(model, batches):
    return torch.cat([(model(x, n).argmax(1) == y).double() for x, n, y in batches]).mean().item()


class Classifier(nn.Module):
    """A transformer encoder that masks padding."""

    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(16, 16), nn.Parameter(0.02 * torch.randn(10, 16))
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=True)
        self.encoder, self.out = nn.TransformerEncoder(layer, 1), nn.Linear(16, 2)

    def forward(self, x):
        padding = x == 0
        h = self.encoder(self.words(x) + self.places, src_key_padding_mask=padding)
        return self.out(h.masked_fill(padding[..., None], 0.0).sum(1) / (~padding).sum(1, keepdim=True))


def transformer() -> sd.Task:
    torch.manual_seed(0)
    (x, _, y), (v, _, w) = texts(192), texts(64, seed=1)
    return sd.Task(Classifier(), (x, y), F.cross_entropy, validation=(v, w), metrics={"accuracy": sd.accuracy})


class GPT(nn.Module):
    """A causal transformer whose head is its embedding."""

    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(16, 16), nn.Embedding(11, 16)
        self.norm, self.qkv, self.mix = nn.LayerNorm(16), nn.Linear(16, 48), nn.Linear(16, 16)
        self.mlp = nn.Sequential(nn.LayerNorm(16), nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
        self.head = nn.Linear(16, 16, bias=False)
        self.head.weight = self.words.weight
        nn.init.normal_(self.words.weight, std=0.1)

    def forward(self, x):
        h = self.words(x) + self.places(torch.arange(x.shape[1]))
        q, k, v = (z.unflatten(-1, (2, 8)).transpose(1, 2) for z in self.qkv(self.norm(h)).chunk(3, -1))
        h = h + self.mix(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
        return self.head(h + self.mlp(h))


def next_word(output, target):
    return F.cross_entropy(output.flatten(0, 1), target.flatten())


def gpt() -> sd.Task:
    torch.manual_seed(0)
    text, held = words(192), words(64, seed=1)
    return sd.Task(
        GPT(), (text[:, :-1], text[:, 1:]), next_word, validation=(held[:, :-1], held[:, 1:]),
        count=lambda batch: batch[-1].numel(),
    )  # fmt: skip


def collate_encodings(rows):
    from transformers import BatchEncoding

    longest = int(max(n for _, n, _ in rows))
    x = torch.stack([x[:longest] for x, _, _ in rows])
    y = torch.stack([y for _, _, y in rows])
    return BatchEncoding({"input_ids": x, "attention_mask": (x > 0).long(), "labels": y})


def encodings(n: int, seed: int, shuffle: bool) -> DataLoader:
    rows = list(zip(*texts(n, seed=seed)))
    return DataLoader(rows, batch_size=32, shuffle=shuffle, collate_fn=collate_encodings)


def bert() -> sd.Task:
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=16, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=16, num_labels=2,
    )  # fmt: skip
    return sd.Task(
        BertForSequenceClassification(config),
        encodings(192, 0, True),
        objective=lambda model, batch: model(**batch).loss,
        validation=encodings(80, 1, False),
    )


class TextRows(Dataset):
    """Rows of tokens as a causal language model of Hugging Face reads them."""

    def __init__(self, n: int, seed: int):
        self.text = words(n, seed=seed)

    def __len__(self):
        return len(self.text)

    def __getitem__(self, i):
        return {"input_ids": self.text[i], "labels": self.text[i]}


def gpt2() -> sd.Task:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(vocab_size=16, n_positions=12, n_embd=16, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0)
    return sd.Task(
        GPT2LMHeadModel(config),
        TextRows(192, 0),
        objective=lambda model, batch: model(**batch).loss,
        validation=TextRows(64, 1),
    )


class PackedReader(nn.Module):
    """A GRU over a PackedSequence."""

    def __init__(self):
        super().__init__()
        self.gru, self.out = nn.GRU(1, 12, batch_first=True), nn.Linear(12, 1)

    def forward(self, packed):
        return self.out(self.gru(packed)[1][0])


def pack_rows(rows):
    x = torch.stack([x for x, _, _ in rows])
    lengths = torch.tensor([n for _, n, _ in rows])
    return pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False), torch.stack([y for *_, y in rows])


def packed_loader(n: int, seed: int) -> DataLoader:
    x, y = series(n, seed=seed)
    lengths = torch.randint(6, 13, (n,), generator=generator(seed + 5)).tolist()
    rows = [(torch.cat([s[12 - k :], s[: 12 - k] * 0]), k, t) for s, k, t in zip(x, lengths, y)]
    return DataLoader(rows, batch_size=32, collate_fn=pack_rows)


def packed() -> sd.Task:
    torch.manual_seed(0)
    assert pad_packed_sequence is not None
    return sd.Task(PackedReader(), packed_loader(224, 0), nn.MSELoss(), validation=packed_loader(80, 1))


class Windowed(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.out = nn.RNN(1, 12, batch_first=True), nn.Linear(12, 1)


def through_windows(model, batch):
    """Gradients go back four steps: the state is detached between windows."""
    x, y = batch
    state, losses = None, []
    for part, target in zip(x.split(4, 1), y.split(4, 1)):
        h, state = model.rnn(part, state)
        losses.append(F.mse_loss(model.out(h), target))
        state = state.detach()
    return torch.stack(losses).mean()


def windows() -> sd.Task:
    torch.manual_seed(0)
    (x, _), (v, _) = series(192, 13), series(64, 13, seed=1)
    return sd.Task(
        Windowed(), (x[:, :-1], x[:, 1:]), objective=through_windows, validation=(v[:, :-1], v[:, 1:])
    )  # fmt: skip


class Bag(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.out = nn.EmbeddingBag(40, 12), nn.Linear(12, 2)

    def forward(self, text, offsets):
        return self.out(self.words(text, offsets))


def collate_bags(rows):
    offsets = torch.tensor([0, *(len(x) for x, _ in rows[:-1])]).cumsum(0)
    return torch.cat([x for x, _ in rows]), offsets, torch.tensor([y for _, y in rows])


def bag_loader(n: int, seed: int, size: int) -> DataLoader:
    g = generator(seed)
    docs = [torch.randint(0, 40, (int(k),), generator=g) for k in torch.randint(2, 9, (n,), generator=g)]
    return DataLoader(
        [(d, int((d < 14).float().mean() > 0.35)) for d in docs], batch_size=size, collate_fn=collate_bags
    )


def bags() -> sd.Task:
    torch.manual_seed(0)
    return sd.Task(
        Bag(), bag_loader(256, 0, 32), F.cross_entropy, validation=bag_loader(75, 1, 10),
        metrics={"accuracy": sd.accuracy},
    )  # fmt: skip


def bag_accuracy(model, batches):
    return torch.cat([(model(x, o).argmax(1) == y).double() for x, o, y in batches]).mean().item()


class Speech(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru, self.out = nn.GRU(4, 12, batch_first=True), nn.Linear(12, 5)

    def forward(self, x):
        return self.out(self.gru(x)[0]).log_softmax(-1).transpose(0, 1)


def sounds(n: int, seed: int):
    """Sounds [n, 12, 4], the letters in them [n, 4] and how many these are [n]."""
    g = generator(seed)
    letters, count = torch.randint(1, 5, (n, 4), generator=g), torch.randint(2, 5, (n,), generator=g)
    x = 0.3 * torch.randn(n, 12, 4, generator=g)
    for k in range(4):
        there = (count > k).float()[:, None, None]
        x[:, 3 * k : 3 * k + 2] += there * 2 * F.one_hot(letters[:, k] - 1, 4)[:, None]
    return x, letters, count


def ctc_loss(model, batch):
    x, letters, count = batch
    output = model(x)
    return F.ctc_loss(output, letters, torch.full((len(x),), 12), count)


def ctc() -> sd.Task:
    torch.manual_seed(0)
    return sd.Task(Speech(), sounds(192, 0), objective=ctc_loss, validation=sounds(64, 1))


def next_word_of(model, batch):
    return next_word(model(batch[0]), batch[1])


def tokens(batch):
    return float(batch[-1].numel())


def labels(batch):
    return float(len(batch["labels"]))


def joint(model, batch):
    return F.cross_entropy(model(*batch[:-1]), batch[-1])


def hugging(model, batch):
    return model(**batch).loss


CASES = (
    Case(
        "LSTM with carried state", carried_state, lambda m, b: F.mse_loss(m(b[0]), b[1]), batch_size=None, epochs=5
    ),
    Case("GRU over padded texts, padding_idx", padded_gru, joint, metric=read_accuracy),
    Case("transformer", transformer, joint, metric=accuracy, has_own_noise=True),
    Case("GPT with tied weights", gpt, next_word_of, weight=tokens),
    Case(
        "BERT of Hugging Face, BatchEncoding", bert, hugging, weight=labels, batch_size=None, has_own_noise=True,
        epochs=8, lr=1e-2,
    ),
    Case("GPT-2 of Hugging Face, dict rows", gpt2, hugging, weight=labels, has_own_noise=True),
    Case("PackedSequence", packed, lambda m, b: F.mse_loss(m(b[0]), b[1]), batch_size=None),
    Case("gradients through windows of time", windows, through_windows),
    Case("EmbeddingBag with offsets", bags, joint, metric=bag_accuracy, batch_size=None, lr=3e-2),
    Case("CTC", ctc, ctc_loss, lr=2e-2),
)  # fmt: skip
