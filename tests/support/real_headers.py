"""Real headers of several forks, as the rows of a table have them."""

from prover_framework.chain.headers import EncodedHeader
from prover_framework.chain.rlp_header import decode_fields, encode_header

# Ethereum mainnet: the first block of London, from the time of proof of work.
LONDON = {
    "block_hash": "0x9b83c12c69edb74f6c8dd5d052765c1adf940e320bd1291696e6fa07829eee71",
    "parent_hash": "0x3de6bb3849a138e6ab0b83a3a00dc7433f1e83f7fd488e4bba78f2fe2631a633",
    "sha3_uncles": "0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347",
    "miner": "0x7777788200b672a42421017f65ede4fc759564c8",
    "state_root": "0x41cf6e8e60fd087d2b00360dc29e5bfb21959bce1f4c242fd1ad7c4da968eb87",
    "transaction_root": "0xdfcb68d3a3c41096f4a77569db7956e0a0e750fad185948e54789ea0e51779cb",
    "receipts_root": "0x8a8865cd785e2e9dfce7da83aca010b10b9af2abbd367114b236f149534c821d",
    "logs_bloom": (
        "0x24e74ad77d9a2b27bdb8f6d6f7f1cffdd8cfb47fdebd433f011f7dfcfbb7db638fadd5ff66ed134ede2879"
        "ce61149797fbcdf7b74f6b7de153ec61bdaffeeb7b59c3ed771a2fe9eaed8ac70e335e63ff2bfe239eaff8f9"
        "4ca642fdf7ee5537965be99a440f53d2ce057dbf9932be9a7b9a82ffdffe4eeee1a66c4cfb99fe4540fbff93"
        "6f97dde9f6bfd9f8cefda2fc174d23dfdb7d6f7dfef5f754fe6a7eec92efdbff779b5feff3beafebd7fd6e97"
        "3afebe4f5d86f3aafb1f73bf1e1d0cdd796d89827edeffe8fb6ae6d7bf639ec5f5ff4c32f31f6b525b676c7c"
        "df5e5c75bfd5b7bd1928b6f43aac7fa0f6336576e5f7b7dfb9e8ebbe6f6efe2f9dfe8b3f56"
    ),
    "difficulty": "0x1b81c1fe05b218",
    "number": "12965000",
    "gas_limit": "30029122",
    "gas_used": "30025257",
    "timestamp": "1628166822",
    "extra_data": "0x68747470733a2f2f7777772e6b7279707465782e6f7267",
    "mix_hash": "0x9620b46a81a4795cf4449d48e3270419f58b09293a5421205f88179b563f815a",
    "nonce": "0xb223da049adf2216",
    "base_fee_per_gas": "0x3b9aca00",
}

# Ethereum mainnet.
SHANGHAI = {
    "block_hash": "0xc3674be7b9d95580d7f23c03d32e946f2b453679ee6505e3a778f003c5a3cfae",
    "parent_hash": "0x43325027f6adf9befb223f8ae80db057daddcd7b48e41f60cd94bfa8877181ae",
    "sha3_uncles": "0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347",
    "miner": "0x388c818ca8b9251b393131c08a736a67ccb19297",
    "state_root": "0x13552447dd62f11ad885f21a583c4fa34144efe923c7e35fb018d6710f06b2b6",
    "transaction_root": "0x93a1ad3d067009259b508cc95fde63b5efd7e9d8b55754314c173fdde8c0826a",
    "receipts_root": "0x66934c3fd9c547036fe0e56ad01bc43c84b170be7c4030a86805ddcdab149929",
    "logs_bloom": (
        "0x3e6b8420e1a13038902c24d6c2a9720a7ad4860cdc870cd5c0490011e43631134f608935bd83171247407d"
        "a2c15d85014f9984608c03684c74aad48b20bc24022134cdca5f2e9d2dee3b502a8ccd39eff8040b1d96601c"
        "460e119c408c620b44fa14053013220847045556ea70484e67ec012c322830cf56ef75e09bd0db28a00f238a"
        "dfa587c9f80d7e30d3aba2863e63a5cad78954555966b1055a4936643366a0bb0b1bac68d0e6267fc5bf8304"
        "d404b0c69041125219aa70562e6a5a6362331a414a96d0716990a10161b87dd9568046a742d4280014975e23"
        "2b6001a0360970e569d54404b27807d7a44c949ac507879d9d41ec8842122da6772101bc8b"
    ),
    "difficulty": "0x0",
    "number": "18722845",
    "gas_limit": "30000000",
    "gas_used": "10971332",
    "timestamp": "1701811955",
    "extra_data": "0x546974616e2028746974616e6275696c6465722e78797a29",
    "mix_hash": "0x516a58424d4883a3614da00a9c6f18cd5cd54335a08388229a993a8ecf05042f",
    "nonce": "0x0000000000000000",
    "base_fee_per_gas": "0xd7232aa34",
    "withdrawals_root": "0xecae44b2c53871003c5cc75285995764034c9b5978a904229d36c1280b141d48",
}

# Made by Hardhat's node under the rules of Cancun.
CANCUN = {
    "block_hash": "0xd0b5ebee1b19d3d6c36f127f32d126c444fc19c10a8ea04325beeba7e04c5aed",
    "parent_hash": "0xd443ac3dc5bc655e0bee809bc8a780b4efd3b41e9a6e385db875b4f1c2757ab5",
    "sha3_uncles": "0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347",
    "miner": "0xc014ba5ec014ba5ec014ba5ec014ba5ec014ba5e",
    "state_root": "0x14d0a4a137c56f3a112a028d1c4fe582b223467808e942404f8ce02f3cbd8ed0",
    "transaction_root": "0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421",
    "receipts_root": "0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421",
    "logs_bloom": "0x" + "00" * 256,
    "difficulty": "0x0",
    "number": "0x2",
    "gas_limit": "0x3938700",
    "gas_used": "0x0",
    "timestamp": "0x6b057051",
    "extra_data": "0x",
    "mix_hash": "0x36e0e2ad178d961006334c968a7f38fc9e049070a61e5b8203219acebd7bfd59",
    "nonce": "0x0000000000000000",
    "base_fee_per_gas": "0x2da282a8",
    "withdrawals_root": "0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421",
    "blob_gas_used": "0x0",
    "excess_blob_gas": "0x0",
    "parent_beacon_block_root": "0x20ac26c307a8005e8e0c24ae0e18f5fb23fb724064e99ebccb2cb877faaa55ac",  # noqa: E501
}

# Sepolia; this table has no difficulty.
PRAGUE = {
    "block_hash": "0x7b6cf14325a0ed0d7b237df4f1381960c1a4020cd44627039f0cda65a26a4f13",
    "parent_hash": "0x6d049ed735bf8dc12d3fba3c955c975dcc102df0afc08dc8618b750f136f29b6",
    "sha3_uncles": "0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347",
    "miner": "0x9b984d5a03980d8dc0a24506c968465424c81dbe",
    "state_root": "0x1833fcabe194a1d262a443a40cb2c5b857601ee231d84b362ed382c132b127ef",
    "transaction_root": "0x959efbdd4cf04351ffc66ac34d5ebb3d7c46ed4e37d08f59aef7833bdb90a2f4",
    "receipts_root": "0x0434c0e4607f8ebd6d2a75a92eded839a9070563d4c43397fb0512c82aeec82b",
    "logs_bloom": (
        "0x773c440d8439c4a4c294901688e50954442c3c62320753eec8b830b5804648970358c0008020240224920c"
        "85883420a4f3d8852080206f0c440016313db05e00492214c5255415c84200f0ce910b8020bc10014d20d200"
        "4873a70d05e910c4c133319b00ba40105b9227acaec104080012490cc04c2048003134861901d0a223628c16"
        "47057c4435620842a9052d8212d864a0c10c028e7038451185945aa05966a82a401400011d627f27642082d0"
        "4e218520001200828088d4938289285681835219c68005060521018d2f1842921e911c0831951594415203e1"
        "51909828730493951840b7290465863852e8b0a1280932120d3a960e5918dba12c1e488140"
    ),
    "number": "8006481",
    "gas_limit": "35964811",
    "gas_used": "16280370",
    "timestamp": "1743249072",
    "extra_data": "0xd883010f05846765746888676f312e32342e31856c696e7578",
    "mix_hash": "0xa684b14fa3014026f667fa5dc0bd778620b46998e4e6e0a6ac38c7bd2dc9f3d6",
    "nonce": "0x0000000000000000",
    "base_fee_per_gas": "0xa0ba15",
    "withdrawals_root": "0xb2025318ab07cbe3b7504bff0f1245f4fe40468cfc30f1118bb9633c36da0306",
    "blob_gas_used": "0x40000",
    "excess_blob_gas": "0x1c80000",
    "parent_beacon_block_root": "0xa6a29009507bd9373033b239f2102ae8f62a2ebae4c93e4d9b3080f739fb6e8b",  # noqa: E501
    "requests_hash": "0xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
}

# The block after it.
PRAGUE_NEXT = {
    "block_hash": "0x99250e9797d27e4707a8ef84dc07194ab7d5f82674a123e3721b68a10caa89d8",
    "parent_hash": "0x7b6cf14325a0ed0d7b237df4f1381960c1a4020cd44627039f0cda65a26a4f13",
    "sha3_uncles": "0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347",
    "miner": "0x1268ad189526ac0b386faf06effc46779c340ee6",
    "state_root": "0xe893a8bcb6d6c474e85bfee8d34344c557a695bd56ec9ce898b98c1a34834e00",
    "transaction_root": "0xe42c9750ac389908166e1132b58952624582fd27e8428edde44ab421649b4724",
    "receipts_root": "0x4f90a33dc4cf8a7f7cce2a01c4dcc703e56a01aa0466230340e004a13e418962",
    "logs_bloom": (
        "0x42eac454890be48cd01e9436a9a3171d3818d5405601444f181d27744a1ea59f0358a2d121604d8ba09b09"
        "cfb13488ec0be6d1a8a3e479486cc9b1b82d2054c2633630e4a6a43341c360224f8810803a0ed10345d0fa46"
        "80730d0102dbbfb4a671cb2befba0c30568387c862711a694882e8a8f4442a2109c5a0f53e85c9cba05bc102"
        "043074f021f04125490761a89292f8c0c94ce0a97f22151cec07588ffb12892e250522b08940382e5078131d"
        "4e20e4040017131ef00cc793db239c500985576822040b860a810a08bf386f06b4851c7c0c90a59c555f39c7"
        "84910d216314d0153c73fb322b55d5ba22b21b25fc806a607c782e405cc0975180183fd485"
    ),
    "number": "8006482",
    "gas_limit": "35929691",
    "gas_used": "26603125",
    "timestamp": "1743249084",
    "extra_data": "0x496c6c756d696e61746520446d6f63726174697a6520447374726962757465",
    "mix_hash": "0x729d2ea7cc2d9ce06955f1760d299d894dcc6698d419a4efd31626aca2bfc32d",
    "nonce": "0x0000000000000000",
    "base_fee_per_gas": "0x9ed346",
    "withdrawals_root": "0xca0e15dca0dbedc094cf17c77f3919651c09d39438b1660f39187086cdab82f5",
    "blob_gas_used": "0xc0000",
    "excess_blob_gas": "0x1c00000",
    "parent_beacon_block_root": "0xf28cccd8e15c7edfccb20a97b36901e1dc9de3e90a9c864d6d2ea2fdac04e632",  # noqa: E501
    "requests_hash": "0xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
}

# A development chain of the OP stack, since Holocene: an execution payload of the Engine API in a
# public test of a client for op-alloy's types. Its transactions root is computed from its one
# transaction; the hash is that of the payload.
OP_STACK = {
    "block_hash": "0xbed80760570d9cb9250dc44825fe5c26348d0944c529cced1f246f00616c8648",
    "parent_hash": "0x70fa255460001cc0e676a5d92e7aa2dfaa792db30e79f052bff2a87f06c21913",
    "sha3_uncles": "0x1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347",
    "miner": "0x4200000000000000000000000000000000000011",
    "state_root": "0x6157c83f4d5578eb78816916e988d7865edae5070f6e3e01a9c747478929ff0c",
    "transaction_root": "0x8fa74c3efe444b236918e8a7b4feec10b2974e19cfc80fc8754508ec1cf0d027",
    "receipts_root": "0x6a8486e713e867135784dfe6399f31a7a12acb9118ca4206d0160cc2c2454323",
    "logs_bloom": "0x" + "00" * 256,
    "number": "1478",
    "gas_limit": "60000000",
    "gas_used": "52220",
    "timestamp": "1755780028",
    "extra_data": "0x00000000fa00000006",
    "mix_hash": "0xd73f0eaa07f8428105bb4edce3f120accf3dd99e688a3fb56e30d1cd8a2a368e",
    "nonce": "0x0000000000000000",
    "base_fee_per_gas": "0x29eef4",
    "withdrawals_root": "0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421",
    "blob_gas_used": "0x0",
    "excess_blob_gas": "0x0",
    "parent_beacon_block_root": "0x6f3474c7332a629e53b75e154a46dc60833ae4fe213eab70d3c49ed867ef42a2",  # noqa: E501
}

FORKS = {"London": LONDON, "Shanghai": SHANGHAI, "Cancun": CANCUN, "Prague": PRAGUE}


def stored(row: dict[str, str]) -> EncodedHeader:
    """Return the header as it is stored."""
    return encode_header(row)


def altered(header: EncodedHeader, **changes: object) -> EncodedHeader:
    """Return the header with other values in some fields, and the hash that they make."""
    return encode_header({**decode_fields(header.rlp), **changes})
