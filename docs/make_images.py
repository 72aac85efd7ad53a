"""Draw the pictures of README.md and of the gallery from real fits: ``python docs/make_images.py``."""

import json
import re
from pathlib import Path

import matplotlib
import numpy as np

import bayeslmm as blm

matplotlib.use("agg")
from matplotlib import pyplot as plt

IMAGES = Path(__file__).parent / "images"
BLUE, RED = "#30638e", "#d1495b"
PEERS = {
    "lme4": BLUE,
    "gpboost": "#00798c",
    "statsmodels": "#8d6a9f",
    "bambi": RED,
    "explicit": "#edae49",
    "merf": "#66a182",
}


def main() -> None:
    """Fit sleepstudy both ways; draw the subjects' slopes and the two standard deviations."""
    model = blm.Model("Reaction ~ 1 + Days + (1 + Days | Subject)", blm.load_dataset("sleepstudy"))
    reml = model.fit(method="reml")
    bayes = model.fit(method="nuts", seed=1, progressbar=False)
    figure, (slopes, spread) = plt.subplots(1, 2, figsize=(10, 4.2), width_ratios=(3, 2), layout="constrained")
    draw_slopes(slopes, reml, bayes)
    draw_standard_deviations(spread, reml, bayes)
    IMAGES.mkdir(exist_ok=True)
    figure.savefig(IMAGES / "sleepstudy.png", dpi=110)
    draw_gallery()
    draw_performance()


def draw_performance() -> None:
    """Draw how many times as long each peer takes, from the newest table of the benchmarks."""
    newest = max((IMAGES.parent.parent / "benchmarks" / "results").glob("20*.json"))
    measured = json.loads(newest.read_text(encoding="utf-8"))
    rows = [
        row
        for row in measured["rows"]
        if row.get("ratio") and row["against"].split()[0] in PEERS and "unchecked" not in row["against"]
    ]
    rows.sort(key=lambda row: row["ratio"])
    place = np.arange(len(rows))
    figure, axes = plt.subplots(figsize=(8.5, 0.36 * len(rows) + 1.1), layout="constrained")
    colors = [PEERS[row["against"].split()[0]] for row in rows]
    axes.barh(place, [row["ratio"] - 1 for row in rows], left=1, color=colors, height=0.62)
    for at, row in zip(place, rows, strict=True):
        axes.annotate(f"{row['ratio']:.3g}", (row["ratio"], at), xytext=(4, 0), textcoords="offset points", va="center")
    labels = [f"{row['row'].replace('`', '').replace(', compilation included', '')}" for row in rows]
    axes.set(xscale="log", yticks=place, yticklabels=labels, xlabel="times as long as bayeslmm")
    axes.set_xlim(1, 3 * max(row["ratio"] for row in rows))
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    used = dict.fromkeys(row["against"].split()[0] for row in rows)
    handles = [plt.Rectangle((0, 0), 1, 1, color=PEERS[name]) for name in used]
    axes.legend(
        handles, ["explicit PyMC" if name == "explicit" else name for name in used], frameon=False, loc="lower right"
    )
    figure.savefig(IMAGES / "performance.png", dpi=100)


def draw_gallery() -> None:
    """Run the code of gallery.md, and save each figure under the name of the picture shown below its code."""
    (IMAGES / "gallery").mkdir(exist_ok=True)
    names: dict[str, object] = {}
    text = (IMAGES.parent / "gallery.md").read_text(encoding="utf-8")
    for code, shown in re.findall(r"```python\n(.*?)```\n(?:\n!\[[^]]*\]\(([^)]*)\))?", text, re.DOTALL):
        exec(compile(code, "gallery.md", "exec"), names)
        if shown:
            names["figure"].savefig(IMAGES.parent / shown, dpi=80, bbox_inches="tight")  # type: ignore[attr-defined]


def draw_slopes(axes: plt.Axes, reml: blm.PointFit, bayes: blm.PosteriorFit) -> None:
    """Draw each subject's slope: posterior mean and 95% interval, with the REML prediction."""
    posterior = bayes.idata.posterior
    draws = (posterior["beta"].sel(fixed="Days") + posterior["r_Subject"].sel(Subject_effect="Days")).stack(
        sample=("chain", "draw")
    )
    twin = reml.fixef()["Days"] + reml.ranef()["Subject"]["Days"]
    order = np.argsort(twin.to_numpy())
    low, mean, high = (
        draws.quantile(0.025, "sample"),
        draws.mean("sample"),
        draws.quantile(0.975, "sample"),
    )
    place = np.arange(order.size)
    axes.hlines(place, low[order], high[order], color=BLUE, lw=2, label="posterior, 95%")
    axes.plot(mean[order], place, "o", color=BLUE, ms=5, label="posterior mean")
    axes.plot(twin.to_numpy()[order], place, "|", color=RED, ms=12, mew=2, label="REML")
    axes.set(yticks=place, yticklabels=twin.index[order], xlabel="ms per day of little sleep", ylabel="subject")
    axes.set_title("Slope of each subject", loc="left")
    axes.legend(frameon=False, loc="lower right")


def draw_standard_deviations(axes: plt.Axes, reml: blm.PointFit, bayes: blm.PosteriorFit) -> None:
    """Draw the posterior of the two standard deviations, with the REML estimates."""
    sd = bayes.idata.posterior["sd_Subject"].stack(sample=("chain", "draw"))
    axes.plot(
        sd.sel(Subject_effect="Intercept"),
        sd.sel(Subject_effect="Days"),
        ".",
        color=BLUE,
        ms=2,
        alpha=0.3,
        label="posterior draws",
    )
    table = reml.varcorr()
    own = table[(table["group"] == "Subject") & table["other_effect"].isna()].set_index("effect")["sd"]
    axes.plot(own["Intercept"], own["Days"], "P", color=RED, ms=11, mec="white", label="REML")
    axes.set(xlabel="sd of intercepts (ms)", ylabel="sd of slopes (ms per day)", xlim=(0, None), ylim=(0, None))
    axes.set_title("How much subjects differ", loc="left")
    axes.legend(frameon=False, loc="upper right")


if __name__ == "__main__":
    main()
