"""Small networks of transformers with random weights, in folders as they are published: of words, and of two towers."""

import torch

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 37}
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,!+-'"


def clip_words(hub, length=16):
    """Return a tokeniser of CLIP's kind: single letters, as there are no merges."""
    vocabulary = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    numbers = {piece: number for number, piece in enumerate(vocabulary)}
    return hub.CLIPTokenizer(vocab=numbers, merges=[], model_max_length=length)


def bert_words(hub, length=16):
    """Return a tokeniser of BERT's kind."""
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    numbers = {piece: number for number, piece in enumerate(vocabulary)}
    return hub.BertTokenizer(vocab=numbers, model_max_length=length)


def clip(hub, folder, **more):
    """Write a network of CLIP's kind for pictures of 32 pixels; return it, its processor and its tokeniser."""
    words = clip_words(hub)
    text = {**SMALL, "vocab_size": len(words), "max_position_embeddings": 16, "projection_dim": 24}
    text |= {"eos_token_id": words.eos_token_id, "bos_token_id": words.bos_token_id, "pad_token_id": words.pad_token_id}
    vision = {**SMALL, "image_size": 32, "patch_size": 8, "projection_dim": 24}
    made = hub.CLIPModel(hub.CLIPConfig(text_config=text, vision_config=vision, projection_dim=24, **more))
    shown = hub.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    return _saved(folder, made, shown, words)


def siglip(hub, folder):
    """Write a network of SigLIP's kind."""
    words = bert_words(hub)
    text = {**SMALL, "vocab_size": len(words), "max_position_embeddings": 16}
    vision = {**SMALL, "image_size": 32, "patch_size": 8}
    made = hub.SiglipModel(hub.SiglipConfig(text_config=text, vision_config=vision))
    shown = hub.SiglipImageProcessor(size={"height": 32, "width": 32})
    return _saved(folder, made, shown, words)


def clap(hub, folder):
    """Write a network of CLAP's kind for sounds of a second."""
    words = bert_words(hub)
    text = {**SMALL, "vocab_size": len(words), "max_position_embeddings": 20, "pad_token_id": 0}
    audio = {
        "spec_size": 64, "num_mel_bins": 16, "patch_size": 4, "patch_stride": [4, 4], "patch_embeds_hidden_size": 8,
        "depths": [1, 1], "num_attention_heads": [2, 2], "hidden_size": 16, "window_size": 4, "num_hidden_layers": 2,
    }  # fmt: skip
    made = hub.ClapModel(hub.ClapConfig(text_config=text, audio_config=audio, projection_dim=24))
    heard = hub.ClapFeatureExtractor(feature_size=16, sampling_rate=16000, max_length_s=1, truncation="rand_trunc")
    return _saved(folder, made, heard, words)


def bert(hub, folder):
    """Write a network of words alone."""
    words = bert_words(hub)
    return _saved(folder, hub.BertModel(hub.BertConfig(vocab_size=len(words), **SMALL)), None, words)


def _saved(folder, *parts):
    for part in parts:
        if part is not None:
            part.save_pretrained(folder)
    network, *others = parts
    return torch.nn.Module.eval(network), *others
