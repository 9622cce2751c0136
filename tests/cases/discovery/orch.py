# expect: stage a | orch {"inputs": ["a.csv"], "timeout": 2.5} | run
STAGE = "a"
ORCH = {
    "inputs": ("a.csv",),
    "timeout": 2.5,
}


def run():
    ...
