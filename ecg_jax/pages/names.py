"""What the keys of metrics and tables mean, in words, and whom to cite."""

COLUMNS = {
    "setting": "setting",
    "side": "side",
    "num_components": "components",
    "num_distinct": "distinct functions",
    "proven": "proven by own component",
    "proven_any": "proven by any",
    "proven_all": "proven by every one",
    "proven_normal": "“normal” proven",
    "proven_not_normal": "“not normal” proven",
    "wrongly_proven": "proven wrongly",
    "share_frozen": "share frozen",
    "one_everywhere": "control: one component everywhere",
    "shuffled": "control: shuffled",
    "random_network": "control: random network",
    "purity": "variance explained (absolute)",
    "purity_of_kmeans": "share of that of k-means",
    "depth": "depth",
    "num_cells": "cells",
    "gain": "gain of this tree",
    "gain_hyperplanes": "gain of the null: random hyperplanes",
    "gain_kmeans": "gain of the ceiling: k-means",
    "score": "score s",
    "p": "p",
    "network": "network",
    "split": "split",
    "heldout": "held-out",
    "given": "given",
}

SHARES = {
    "accuracy by beat",
    "accuracy by recording",
    "decision_agreement",
    "one_everywhere",
    "proven",
    "proven_all",
    "proven_any",
    "proven_normal",
    "proven_not_normal",
    "purity",
    "purity_of_kmeans",
    "random_network",
    "share_frozen",
    "shuffled",
    "unseen_patterns",
    "vacuous",
}
"""What is a share of something, and shown in per cent."""

HELP = {
    "num_distinct": "How many of the components are different functions at all.",
    "proven": "Answers proven by the component of the beat's own cell.",
    "proven_any": "Answers proven by at least one chosen component.",
    "proven_all": "Answers proven by every component below the root.",
    "wrongly_proven": "A proof that contradicts the network; must be 0.",
    "share_frozen": "Units of the side that the component freezes; 0 is f itself.",
    "one_everywhere": "The single best component, used for every cell.",
    "shuffled": "The same components, dealt to the wrong cells.",
    "random_network": "The same on a network with random weights.",
    "gain": "Correlation of a beat with its cell's template, less that one level up.",
    "gain_hyperplanes": "Random cuts of the same parents into cells of the same sizes.",
    "gain_kmeans": "K-means cuts of the same parents into as many cells.",
    "score": "(tree - null) / (k-means - null): 0 as good as the null, 1 as k-means.",
    "p": "(1 + nulls that gain as much as the tree) / (1 + nulls).",
}

CERTIFICATE = {
    "num_inputs": "beats checked: all",
    "dtype": "arithmetic",
    "decision_agreement": "same answer of complete equation and network, share",
    "max_residual": "largest |equation - network|",
    "max_relative_residual": "the same, over the largest |network|",
    "max_bound_ratio": "largest residual over what rounding may do (at most 1)",
    "wrongly_proven": "proofs that contradict the network (must be 0)",
    "proven_normal": "“normal” answers proven, share of all beats",
    "proven_not_normal": "“not normal” answers proven, share of all beats",
    "unseen_patterns": "patterns that did not occur in growing, share of all beats",
    "levels": "levels of gates opened",
    "refusal": "why not all were opened",
    "holds": "holds",
}

METRICS = {
    "exactness.decision_agreement": "all beats on which complete equation and network "
    "agree",
    "exactness.max_relative_residual_f64": "|equation - network| / max |network|",
    "exactness.max_relative_residual_f32": "the same in float32",
    "exactness.num_beats": "beats that were compared",
    "model.beat_accuracy": "beats answered as labelled, held-out ones where there are "
    "sides",
    "model.beat_auc": "area under the ROC curve, by beat",
    "model.record_auc": "the same by recording, mean over its beats",
    "coverage.witnesses": "components that prove “normal”",
    "coverage.refuters": "components that prove “not normal”",
    "coverage.proven_normal": "“normal” answers that any proves, on held-out "
    "recordings where there are sides",
    "coverage.proven_not_normal": "the same of “not normal” answers",
    "coverage.wrongly_proven": "proofs that contradict the network, on all beats",
    "coverage.share_frozen": "units of a side that a component freezes, mean",
    "data.recordings": "recordings that gave beats",
    "data.beats": "beats",
    "data.excluded": "recordings left out",
}

NUM_OF_METHOD = 2
"""So many of the citations are of the method, the first ones."""

CITATIONS = (
    (
        "C. Snyder, S. Vishwanath. Interpretable Factorization for Neural Network ECG "
        "Models. 2020.",
        "arXiv:2006.15189",
        "https://arxiv.org/abs/2006.15189",
    ),
    (
        "C. Snyder, S. Vishwanath. Deep Networks as Logical Circuits: Generalization "
        "and Interpretation. 2020.",
        "arXiv:2003.11619",
        "https://arxiv.org/abs/2003.11619",
    ),
    (
        "G. D. Clifford et al. AF Classification from a Short Single Lead ECG "
        "Recording: the PhysioNet/Computing in Cardiology Challenge 2017. Computing in "
        "Cardiology 44, 2017.",
        "doi:10.22489/CinC.2017.065-469",
        "https://doi.org/10.22489/CinC.2017.065-469",
    ),
    (
        "G. B. Moody, R. G. Mark. The impact of the MIT-BIH Arrhythmia Database. IEEE "
        "Engineering in Medicine and Biology 20(3), 45-50, 2001.",
        "doi:10.1109/51.932724",
        "https://doi.org/10.1109/51.932724",
    ),
    (
        "A. L. Goldberger et al. PhysioBank, PhysioToolkit, and PhysioNet. Circulation "
        "101(23), e215-e220, 2000.",
        "doi:10.1161/01.CIR.101.23.e215",
        "https://doi.org/10.1161/01.CIR.101.23.e215",
    ),
    (
        "P. Wagner et al. PTB-XL, a large publicly available electrocardiography "
        "dataset. Scientific Data 7, 154, 2020.",
        "doi:10.1038/s41597-020-0495-6",
        "https://doi.org/10.1038/s41597-020-0495-6",
    ),
    (
        "E. A. Perez Alday et al. Classification of 12-lead ECGs: the PhysioNet/"
        "Computing in Cardiology Challenge 2020. Physiological Measurement 41(12), "
        "124003, 2020.",
        "doi:10.1088/1361-6579/abc960",
        "https://doi.org/10.1088/1361-6579/abc960",
    ),
    (
        "M. A. Reyna et al. Will Two Do? Varying Dimensions in Electrocardiography: "
        "The PhysioNet/Computing in Cardiology Challenge 2021. Computing in Cardiology "
        "48, 2021.",
        "doi:10.23919/CinC53138.2021.9662687",
        "https://doi.org/10.23919/CinC53138.2021.9662687",
    ),
    (
        "A. I. Kalyakulina et al. LUDB: A New Open-Access Validation Tool for "
        "Electrocardiogram Delineation Algorithms. IEEE Access 8, 186181-186190, 2020.",
        "doi:10.1109/ACCESS.2020.3029211",
        "https://doi.org/10.1109/ACCESS.2020.3029211",
    ),
    (
        "P. E. McSharry, G. D. Clifford, L. Tarassenko, L. A. Smith. A dynamical model "
        "for generating synthetic electrocardiogram signals. IEEE Transactions on "
        "Biomedical Engineering 50(3), 289-294, 2003.",
        "doi:10.1109/TBME.2003.808805",
        "https://doi.org/10.1109/TBME.2003.808805",
    ),
)
