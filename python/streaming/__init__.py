"""How the network leaves Python: folded weights inside streaming shells."""
