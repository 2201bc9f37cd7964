"""Public sets of structures and where their files are: names, sizes, checksums, licences; nothing here is downloaded.

Sets that lie in git repositories are named at a commit, and their checksums were taken from it: ``sha256``, or the name of the
blob (``git``) where the file itself was not at hand. Places of MD17 and revised MD17 are those that PyTorch Geometric 2.8 uses
(``torch_geometric.datasets.MD17``); their checksums are recorded at the first download. Sets whose public place is not
established here (QM9, the Open Catalyst sets, MPtrj, SPICE) are left out: download them, and ``coset data convert`` the files.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from coset.errors import unknown

RAW = "https://raw.githubusercontent.com"
BOTNET = f"{RAW}/davkovacs/BOTNet-datasets/29e6d467317e4b5967b7ea5cbee54de953fa0d45"
MLEARN_AT = f"{RAW}/materialsvirtuallab/mlearn/10c427a5480c6281c15c64efaf869b03be04818f/data"
DEEPMD = f"{RAW}/deepmodeling/deepmd-kit/bc902daf747d93c5d7314338d287fd2dd0a7e32c/examples/water/data"
SGDML = "http://quantum-machine.org/gdml/data/npz"
REVISED = "https://archive.materialscloud.org/record/file?filename=rmd17.tar.bz2&record_id=466"


@dataclass(frozen=True)
class Remote:
    """One file: where it is, what it is called below the folder of its set, what it must be."""

    url: str
    name: str
    size: int | None = None  #: bytes
    digest: str = ""  #: sha256:HEX or git:HEX; "" is recorded at the first download
    members: tuple[tuple[str, str], ...] = ()  #: of an archive, and what they are called below the folder


@dataclass(frozen=True)
class PublicSet:
    """Files that belong together, in the folder ``folder`` of the cache."""

    name: str
    folder: str
    says: str
    source: str
    licence: str
    files: tuple[Remote, ...] = field(repr=False)
    energy: str = "eV"  #: units of the files; lengths are in angstrom
    use: str = ""  #: a command that takes it

    @property
    def size(self) -> int | None:
        """Bytes of all files, where known."""
        sizes = [file.size for file in self.files]
        return None if None in sizes else sum(size or 0 for size in sizes)

    @property
    def names(self) -> tuple[str, ...]:
        """Files below the folder when all is there, archives unpacked."""
        return tuple(name for file in self.files for name in ([to for _, to in file.members] or [file.name]))


ACAC = """
isolated_atoms.xyz 455 sha256:b74f321b453374621b447d65c60979f70df1b7182c8ee0215388b2c574f33823
train_300K.xyz 880100 sha256:8f5706d6902360555a5be59395612d2afc3489a75688388a58e7275fdad68af3
train_600K.xyz 880112 sha256:180c2538508f7810a623c279426f44953ee7cfb2af77e48ea3986ff97645a71c
test_MD_300K.xyz 1144100 sha256:2291f3186a3cc6a5e05e92952c84a9237ca53f862d78fd3316a769360719ec43
test_MD_600K.xyz 1144153 sha256:d5a5bba154ec43f915eb7529f86ec3af60e6f911743859daba030181a0378ff7
test_H_transfer.xyz 14306 sha256:ea4d76c79cf4cfccd2f93eaf755172b0b648886c4907eb0f82dff07a77530743
test_dihedral.xyz 43974 sha256:0c2246a593579de5a4450698d5f4ba5802b095824b7f211aa5889339967c6809
"""
THREE_BPA = """
iso_atoms.xyz 504 sha256:e12a2465a2612bf38fd5dabdf64d4b57fc58ce9610a858c54ea1142d517c053f
train_300K.xyz 1504880 sha256:d109971fab90e2231ad931a83eb704c8d940f5c7d7a8de27fe3b84ea18634c0a
train_mixedT.xyz 1504818 sha256:bc108532964b2ed259eaaabf82e5dfaffa5bda9ac384fc2afabcce192a49250b
test_300K.xyz - git:6ea840dfce31bd7667a26e592f3625729c90441b
test_600K.xyz - git:681d24eeb4e9193644e6db58193b50e205a5bc0f
test_1200K.xyz - git:94beb5238c3573e4be4d368928460f951e07e513
test_dih.xyz - git:7bdd390b9aed0a677dd8036a3a5055a0b648d1f5
"""
ETHANOL = """
isolated_atoms.xyz 608 sha256:a2a662390f31ad623ce493038e680bc34214f88d4432566bf8fbd0761be57583
train.xyz 1115876 sha256:a26a16d8910581fa321fedc3bd3dfe31f2460e8cbfdc7a8f65243f4fd7250dd0
test_MD.xyz 1110863 sha256:b8726933d5b9083989d8e3cc7013c18e0950cf0cbc6f6cd570fdb9759001031c
test_dimers.xyz 110276 sha256:6beaf368c2caed6493a39c643438317246926675f14b188b7a2dcbd7868f7342
test_norm_mode_874.xyz 24180 sha256:13f363e0c141dc25af4d8f59668623a27e024c781a07a52f8565fc6bb0e58f99
test_norm_mode_3005.xyz 11769 sha256:9412f0ac3562ee3f307e823eae5f6a9b793e1805feea908f58c9d24a0068f6b0
"""
MLEARN = """
Cu/training.json - git:9804a3c4335bc6cb796d67b3e90a8f203844ab40
Cu/test.json 608400 sha256:1805a315ce8d0ce4a18bb761df4c4f619909ce114d598d426015d0071edc98c2
Ge/training.json 2796663 sha256:43dee02009a5167f94c7aafce19051222bcfc328c46181750cc2a2018187ca00
Ge/test.json 311848 sha256:737ea6159c9dd27ebee7fb8ffae22f15e20466884927771248ca4f5b2cd3f093
Li/training.json 2446522 sha256:1cac01475c5a4fb85771ee1fd23366a6b8abfb9891e0c9e088b6e37228e147b3
Li/test.json 279684 sha256:554d0ce60b35a07b357be3a80bf04f68eb8fc97b5a88328caf08c860b5e9b260
Mo/training.json 2127325 sha256:b13305fca0d0d2631ab080c8fcf13c743ee79a911712fb65a34ca88fadf09f9a
Mo/test.json 250629 sha256:68169e2927c2115daa2f504805fcb9548ee65daf2dd015428807ba92f8e13bb8
Ni/training.json - git:70f0abe1a2cc06ada3fcd7e5bc68e2139b942228
Ni/test.json 611126 sha256:dccbfa14ddff5d1d35f658c48b68f6b431f95496a5261ef8b8f4d1d41e36008a
Si/training.json 2669946 sha256:ae6d4b0a65b00e0fcf7ba0a6fad366716710d2f0d21d70199203089c6866b500
Si/test.json 309803 sha256:d452b30a89f23bff76f7cc529b7b6c2d159ea81ccd5a4599fb1a18207654fa91
"""
WATER = """
data_0/set.000/box.npy 3008 sha256:88376dc931e272a3569cabcab0f1ee4320168c73ee183ae60f7086b473fc719d
data_0/set.000/coord.npy 184448 sha256:58554d0ef240b54a242a8163e112d673872f5be5198c86c4eb8d5f39602ff645
data_0/set.000/energy.npy 448 sha256:920c4628018c12a4d38c22aef7f41ca483a02747319a42dd4e4f703e2a9f70c8
data_0/set.000/force.npy 184448 sha256:fae9be94125902c089720416a4cea521380a415709ead1f9134b7f64f46f1e58
data_0/type.raw 384 sha256:c0287bfae960bdddafa96841b59c29ac9b7548ddac0b5bebd30fb502563d0507
data_0/type_map.raw 4 sha256:2af2202bdb95741681b308b05c1dae7837141fe32b10d14db2a4c0ea9103e55b
data_1/set.000/box.npy 3008 sha256:88376dc931e272a3569cabcab0f1ee4320168c73ee183ae60f7086b473fc719d
data_1/set.000/coord.npy 184448 sha256:b9cf07c179a0f975a3b8607f439602e9a78b9bec3b02aa8afe812d716563f380
data_1/set.000/energy.npy 448 sha256:d3b407e3b67f953fe496a62e1f7dc84d07a8bfcfb748bfaafbca435809012b93
data_1/set.000/force.npy 184448 sha256:7a3099c380a57379574e5b854f43589e736b785d6f747c68d093a45b3f85b542
data_1/set.001/box.npy 3008 sha256:88376dc931e272a3569cabcab0f1ee4320168c73ee183ae60f7086b473fc719d
data_1/set.001/coord.npy 184448 sha256:f4581f0f4aedb910b8580157a9dca622c5cd3b71428f5924bdeed0192ab50dd2
data_1/set.001/energy.npy 448 sha256:d4634357a81940e5aca110cd5285b3b72503f4ae13bbfffbe5791c145748a4bf
data_1/set.001/force.npy 184448 sha256:19313e524e1900eaf721ec7be9f2a48b854301aefc884f6ca4815824aa4b6a77
data_1/type.raw 384 sha256:c0287bfae960bdddafa96841b59c29ac9b7548ddac0b5bebd30fb502563d0507
data_1/type_map.raw 4 sha256:2af2202bdb95741681b308b05c1dae7837141fe32b10d14db2a4c0ea9103e55b
data_2/set.000/box.npy 3008 sha256:88376dc931e272a3569cabcab0f1ee4320168c73ee183ae60f7086b473fc719d
data_2/set.000/coord.npy 184448 sha256:c9fd13c05992f98efe1d78ae0b70f0565820aceeaf0d25f17b02a0f29a0b84c8
data_2/set.000/energy.npy 448 sha256:a38b8cd8e897ded6ac3a6d88559358c634575bede2ae930bc2557b1047059b49
data_2/set.000/force.npy 184448 sha256:fda708ae95c73edca449709c2adfdf494acc6379323d92f865b1698c3830634f
data_2/type.raw 384 sha256:c0287bfae960bdddafa96841b59c29ac9b7548ddac0b5bebd30fb502563d0507
data_2/type_map.raw 4 sha256:2af2202bdb95741681b308b05c1dae7837141fe32b10d14db2a4c0ea9103e55b
data_3/set.000/box.npy 3008 sha256:88376dc931e272a3569cabcab0f1ee4320168c73ee183ae60f7086b473fc719d
data_3/set.000/coord.npy 184448 sha256:f9169bb378e0a4641c65171ccedd47d7b3ac115bc8e1ac8c72be1ce81959e793
data_3/set.000/energy.npy 448 sha256:8e7289bd03566f737f998e26fcdc3e838482e7bb80356939567b3a920d23f1c8
data_3/set.000/force.npy 184448 sha256:7abe876297cd5c989289760435c2258c3ad7be94bb6ed40640efbefb55b76a68
data_3/type.raw 384 sha256:c0287bfae960bdddafa96841b59c29ac9b7548ddac0b5bebd30fb502563d0507
data_3/type_map.raw 4 sha256:2af2202bdb95741681b308b05c1dae7837141fe32b10d14db2a4c0ea9103e55b
"""


def _files(base: str, table: str) -> tuple[Remote, ...]:
    rows = [line.split() for line in table.strip().splitlines()]
    return tuple(Remote(f"{base}/{name}", name, None if size == "-" else int(size), digest) for name, size, digest in rows)


MIT = "MIT (repository)"
BATATIA = "Batatia et al., arXiv 2205.06643 (BOTNet-datasets)"
KOVACS = "Kovacs et al., J. Chem. Theory Comput. 17 (2021), 7696 (BOTNet-datasets)"
ZUO = "Zuo et al., J. Phys. Chem. A 124 (2020), 731 (mlearn)"
CHMIELA = "Chmiela et al., Science Advances 3 (2017), e1603015; Chmiela et al., Nature Communications 9 (2018), 3887"
LILIENFELD = "Christensen and von Lilienfeld, arXiv 2007.09593"
ELEMENTS = ("Cu", "Ge", "Li", "Mo", "Ni", "Si")
#: files of MD17 by name; coupled-cluster sets are archives of a training and a test file
MD17 = {
    "aspirin": "md17_aspirin", "azobenzene": "azobenzene_dft", "benzene": "md17_benzene2017", "ethanol": "md17_ethanol",
    "malonaldehyde": "md17_malonaldehyde", "naphthalene": "md17_naphthalene", "paracetamol": "paracetamol_dft",
    "salicylic": "md17_salicylic", "toluene": "md17_toluene", "uracil": "md17_uracil",
}  # fmt: skip
CLUSTER = ("aspirin_ccsd", "benzene_ccsd_t", "malonaldehyde_ccsd_t", "ethanol_ccsd_t", "toluene_ccsd_t")
REVISED_MD17 = ("aspirin", "azobenzene", "benzene", "ethanol", "malonaldehyde", "naphthalene", "paracetamol", "salicylic",
                "toluene", "uracil")  # fmt: skip


def _sets() -> list[PublicSet]:
    found = [
        PublicSet("acac", "acac", "acetylacetone, 300 and 600 K", BATATIA, MIT, _files(f"{BOTNET}/dataset_acac", ACAC),
                  use="coset compare acac"),
        PublicSet("three_bpa", "three_bpa", "3BPA, a flexible molecule, 300 to 1200 K", KOVACS, MIT,
                  _files(f"{BOTNET}/dataset_3BPA", THREE_BPA), use="coset compare three_bpa"),
        PublicSet("ethanol", "ethanol", "ethanol of revised MD17, dimers and vibrations", f"{LILIENFELD} (BOTNet-datasets)",
                  MIT, _files(f"{BOTNET}/dataset_ethanol", ETHANOL), use="coset compare ethanol"),
        PublicSet("water", "water", "liquid water, 400 boxes of 192 atoms", "examples of DeePMD-kit",
                  "LGPL-3.0-or-later (repository)", _files(DEEPMD, WATER), use="coset compare water"),
    ]  # fmt: skip
    crystals = _files(MLEARN_AT, MLEARN)
    tasks = {"Si": "coset compare silicon", "Ge": "coset compare germanium"}
    for element in ELEMENTS:
        own = tuple(file for file in crystals if file.name.startswith(f"{element}/"))
        found.append(PublicSet(f"mlearn:{element}", "mlearn", f"crystals of {element} with stress", ZUO,
                               "BSD-3-Clause (repository)", own, use=tasks.get(element, "")))  # fmt: skip
    stated, unit = "none stated", "kcal/mol"
    for name, file in (*MD17.items(), *((name, name) for name in CLUSTER)):
        remote = Remote(f"{SGDML}/{file}.npz", f"{file}.npz")
        if name in CLUSTER:
            parts = tuple((f"{file}-{part}.npz", f"{file}-{part}.npz") for part in ("train", "test"))
            remote = Remote(f"{SGDML}/{file}.zip", f"{file}.zip", members=parts)
        found.append(PublicSet(f"md17:{name}", "md17", f"MD17, {name}", CHMIELA, stated, (remote,), unit))
    for name in REVISED_MD17:
        one = ((f"rmd17/npz_data/rmd17_{name}.npz", f"rmd17_{name}.npz"),)
        remote = Remote(REVISED, "rmd17.tar.bz2", members=one)
        found.append(PublicSet(f"rmd17:{name}", "rmd17", f"revised MD17, {name} (one archive for all ten molecules)",
                               LILIENFELD, "see its record", (remote,), unit))  # fmt: skip
    return found


#: by name
SETS = {each.name: each for each in _sets()}
ALIASES = {"3bpa": "three_bpa"}


def set_of(name: str) -> PublicSet:
    """The set of this name; InputError with the nearest one otherwise."""
    name = ALIASES.get(name.lower(), name)
    if name not in SETS:
        raise unknown("public set", name, SETS)
    return SETS[name]
