# Answers to the exercise verdicts: mistakes that must lose points, and right answers that must not.
# ruff: noqa: F811

# %% wrong: the medians decide


def verdicts(rows, claims):
    measured = {row["technique"]: row for row in rows}
    keys = {"smaller": "file", "faster": "latency", "lost": "accuracy"}
    found = {}
    for claim in claims:
        key = keys[claim["metric"]]
        new = measured.get(claim["technique"], {}).get(key)
        old = measured.get(claim["baseline"], {}).get(key)
        if new is None or old is None:
            found[claim["id"]] = "not measured"
            continue
        if claim["metric"] != "smaller":
            new, old = new[1], old[1]
        value = old - new if claim["metric"] == "lost" else old / new
        relation, bound = claim["promise"]
        kept = value >= bound if relation == ">=" else value <= bound
        found[claim["id"]] = "holds" if kept else "fails"
    return found


# %% wrong: lower end over lower end, upper over upper


def verdicts(rows, claims):
    measured = {row["technique"]: row for row in rows}
    keys = {"smaller": "file", "faster": "latency", "lost": "accuracy"}
    found = {}
    for claim in claims:
        key = keys[claim["metric"]]
        new = measured.get(claim["technique"], {}).get(key)
        old = measured.get(claim["baseline"], {}).get(key)
        if new is None or old is None:
            found[claim["id"]] = "not measured"
            continue
        if claim["metric"] == "smaller":
            low = high = old / new
        elif claim["metric"] == "faster":
            low, high = sorted((old[0] / new[0], old[2] / new[2]))
        else:
            low, high = sorted((old[0] - new[0], old[2] - new[2]))
        relation, bound = claim["promise"]
        if relation == "<=":
            low, high, bound = -high, -low, -bound
        word = "holds" if low >= bound else "fails" if high < bound else "undecided"
        found[claim["id"]] = word
    return found


# %% wrong: the bound itself does not keep the promise


def verdicts(rows, claims):
    measured = {row["technique"]: row for row in rows}
    keys = {"smaller": "file", "faster": "latency", "lost": "accuracy"}
    found = {}
    for claim in claims:
        key = keys[claim["metric"]]
        new = measured.get(claim["technique"], {}).get(key)
        old = measured.get(claim["baseline"], {}).get(key)
        if new is None or old is None:
            found[claim["id"]] = "not measured"
            continue
        if claim["metric"] == "smaller":
            low = high = old / new
        elif claim["metric"] == "faster":
            low, high = old[0] / new[2], old[2] / new[0]
        else:
            low, high = old[0] - new[2], old[2] - new[0]
        relation, bound = claim["promise"]
        if relation == "<=":
            low, high, bound = -high, -low, -bound
        word = "holds" if low > bound else "fails" if high < bound else "undecided"
        found[claim["id"]] = word
    return found


# %% wrong: it fails where the interval ends on the bound, which is kept there


def verdicts(rows, claims):
    measured = {row["technique"]: row for row in rows}
    keys = {"smaller": "file", "faster": "latency", "lost": "accuracy"}
    found = {}
    for claim in claims:
        key = keys[claim["metric"]]
        new = measured.get(claim["technique"], {}).get(key)
        old = measured.get(claim["baseline"], {}).get(key)
        if new is None or old is None:
            found[claim["id"]] = "not measured"
            continue
        if claim["metric"] == "smaller":
            low = high = old / new
        elif claim["metric"] == "faster":
            low, high = old[0] / new[2], old[2] / new[0]
        else:
            low, high = old[0] - new[2], old[2] - new[0]
        relation, bound = claim["promise"]
        if relation == "<=":
            low, high, bound = -high, -low, -bound
        word = "holds" if low >= bound else "fails" if high <= bound else "undecided"
        found[claim["id"]] = word
    return found


# %% wrong: what is not proved fails


def verdicts(rows, claims):
    measured = {row["technique"]: row for row in rows}
    keys = {"smaller": "file", "faster": "latency", "lost": "accuracy"}
    found = {}
    for claim in claims:
        key = keys[claim["metric"]]
        new = measured.get(claim["technique"], {}).get(key)
        old = measured.get(claim["baseline"], {}).get(key)
        if new is None or old is None:
            found[claim["id"]] = "not measured"
            continue
        if claim["metric"] == "smaller":
            low = high = old / new
        elif claim["metric"] == "faster":
            low, high = old[0] / new[2], old[2] / new[0]
        else:
            low, high = old[0] - new[2], old[2] - new[0]
        relation, bound = claim["promise"]
        kept = low >= bound if relation == ">=" else high <= bound
        found[claim["id"]] = "holds" if kept else "fails"
    return found


# %% wrong: the ratio is upside down, and the points are gained, not lost


def verdicts(rows, claims):
    measured = {row["technique"]: row for row in rows}
    keys = {"smaller": "file", "faster": "latency", "lost": "accuracy"}
    found = {}
    for claim in claims:
        key = keys[claim["metric"]]
        old = measured.get(claim["technique"], {}).get(key)
        new = measured.get(claim["baseline"], {}).get(key)
        if new is None or old is None:
            found[claim["id"]] = "not measured"
            continue
        if claim["metric"] == "smaller":
            low = high = old / new
        elif claim["metric"] == "faster":
            low, high = old[0] / new[2], old[2] / new[0]
        else:
            low, high = old[0] - new[2], old[2] - new[0]
        relation, bound = claim["promise"]
        if relation == "<=":
            low, high, bound = -high, -low, -bound
        word = "holds" if low >= bound else "fails" if high < bound else "undecided"
        found[claim["id"]] = word
    return found


# %% wrong: every promise is read as ">="


def verdicts(rows, claims):
    measured = {row["technique"]: row for row in rows}
    keys = {"smaller": "file", "faster": "latency", "lost": "accuracy"}
    found = {}
    for claim in claims:
        key = keys[claim["metric"]]
        new = measured.get(claim["technique"], {}).get(key)
        old = measured.get(claim["baseline"], {}).get(key)
        if new is None or old is None:
            found[claim["id"]] = "not measured"
            continue
        if claim["metric"] == "smaller":
            low = high = old / new
        elif claim["metric"] == "faster":
            low, high = old[0] / new[2], old[2] / new[0]
        else:
            low, high = old[0] - new[2], old[2] - new[0]
        bound = claim["promise"][1]
        word = "holds" if low >= bound else "fails" if high < bound else "undecided"
        found[claim["id"]] = word
    return found


# %% wrong: what was not measured is called undecided


def verdicts(rows, claims):
    measured = {row["technique"]: row for row in rows}
    keys = {"smaller": "file", "faster": "latency", "lost": "accuracy"}
    found = {}
    for claim in claims:
        key = keys[claim["metric"]]
        new = measured.get(claim["technique"], {}).get(key)
        old = measured.get(claim["baseline"], {}).get(key)
        if new is None or old is None:
            found[claim["id"]] = "undecided"
            continue
        if claim["metric"] == "smaller":
            low = high = old / new
        elif claim["metric"] == "faster":
            low, high = old[0] / new[2], old[2] / new[0]
        else:
            low, high = old[0] - new[2], old[2] - new[0]
        relation, bound = claim["promise"]
        if relation == "<=":
            low, high, bound = -high, -low, -bound
        word = "holds" if low >= bound else "fails" if high < bound else "undecided"
        found[claim["id"]] = word
    return found


# %% wrong: a constant: nothing is measured


def verdicts(rows, claims):
    return {claim["id"]: "not measured" for claim in claims}


# %% wrong: the public answers by heart


def verdicts(rows, claims):
    known = {
        (">=", 2): "undecided",
        (">=", 1.5): "holds",
        (">=", 4): "fails",
        ("<=", 1): "undecided",
        ("<=", 4): "holds",
    }
    found = {}
    for claim in claims:
        smaller = claim["metric"] == "smaller"
        found[claim["id"]] = (
            "holds" if smaller else known.get(claim["promise"], "holds")
        )
    return found


# %% right: every pair of ends is tried, and the promises they keep are counted


def verdicts(rows, claims):
    def ends(technique, metric):
        for row in rows:
            if row["technique"] == technique:
                if metric == "smaller" and "file" in row:
                    return [row["file"]]
                if metric == "faster" and "latency" in row:
                    return [row["latency"][0], row["latency"][-1]]
                if metric == "lost" and "accuracy" in row:
                    return [row["accuracy"][0], row["accuracy"][-1]]
        return []

    found = {}
    for claim in claims:
        metric, (relation, bound) = claim["metric"], claim["promise"]
        kept = []
        for old in ends(claim["baseline"], metric):
            for new in ends(claim["technique"], metric):
                value = old - new if metric == "lost" else old / new
                kept.append(value >= bound if relation == ">=" else value <= bound)
        if not kept:
            verdict = "not measured"
        elif all(kept):
            verdict = "holds"
        else:
            verdict = "undecided" if any(kept) else "fails"
        found[claim["id"]] = verdict
    return found
