"""The sections of a report beyond its tables: equations, graph, means, effects, leave-one-out, the script."""

import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from html import unescape

import numpy as np
import pytest

import bayeslmm as blm
from bayeslmm.report.graph import Node, Plate, graph_svg
from bayeslmm.results.report_sections import AFTER_PRIORS

NASTY = "<script>alert(1)</script> & 'quotes' \"double\""
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def report(fit, folder, **options):
    return fit.report(folder / "report.html", **options).read_text(encoding="utf-8")


def section(html, title):
    return html.split(f"<h2>{title}</h2>")[1].split("</section>")[0]


@pytest.fixture(scope="module")
def rats():
    return blm.load_dataset("ratpup")


@pytest.fixture(scope="module")
def fit(rats):
    return blm.lmm("weight ~ litsize + treatment * sex + (sex | litter)", rats)


def test_the_equations_name_every_part(fit, tmp_path):
    text = re.sub(r"<[^>]+>", "", section(report(fit, tmp_path, pictures=False), "The model"))
    assert "weighti ~ Normal(μi, σ²)" in text
    assert "μi = β0 + β1 litsizei + β2 treatment[T.High]i" in text
    assert "b0, litter[i] + b1, litter[i] sex[T.Female]i" in text
    assert "effects of (Intercept, sex[T.Female]) ~ Normal(0, Σ) for each of 27 levels of litter" in text


def test_the_equations_of_other_models(tmp_path):
    ticks = blm.Model(
        "TICKS ~ YEAR + offset(HEIGHT) + (1 | BROOD) + (1 | LOCATION)",
        blm.load_dataset("grouseticks").assign(HEIGHT=lambda d: d["HEIGHT"] / 500), family="negative_binomial",
    )  # fmt: skip
    html = report(ticks.fit("ml", n_quad=0), tmp_path)
    text = re.sub(r"<[^>]+>", "", section(html, "The model"))
    assert "TICKSi ~ NegativeBinomial(mean μi, shape)" in text
    assert "log μi = β0" in text
    assert "b(1)BROOD[i] + b(2)LOCATION[i] + offseti" in text
    assert section(html, "The model").count("<ellipse") == 7  # beta, two sds, shape; two effects; y
    many = blm.lmm("y ~ dept * service + (1 | d)", blm.load_dataset("insteval").head(4000))
    assert f"({many.design.p} columns)" in section(report(many, tmp_path, pictures=False), "The model")


def test_the_graph_is_svg_with_escaped_labels():
    svg = graph_svg(
        [Node("beta", "β", NASTY), Node("sd", "sd", "g")], [Node("b", "b", "g: 3 levels", ("sd",))],
        Node("y", "y", NASTY, ("beta", "b"), observed=True), Plate("9 rows"),
    )  # fmt: skip
    root = ElementTree.fromstring(svg)
    assert "script" not in {element.tag.rpartition("}")[2] for element in root.iter()}
    assert len(root.findall(".//{*}ellipse") or root.findall(".//ellipse")) == 4
    assert len(root.findall(".//{*}line") or root.findall(".//line")) == 3


@pytest.mark.parametrize(("groups", "others"), [(0, 1), (1, 1), (2, 2), (3, 2), (5, 1), (7, 2)])
def test_no_arrow_of_the_graph_passes_through_a_label_or_a_node(groups, others):
    own = [Node(f"sd{k}", "sd", f"group {k}") for k in range(groups)]
    beside = [Node("beta", "β", "4 coefficients"), *(Node(f"d{k}", "shape", "dispersion") for k in range(others))]
    effects = [Node(f"b{k}", "b", f"school:klass\n{10 * k} levels", (f"sd{k}",)) for k in range(groups)]
    parents = tuple(node.key for node in (*beside, *effects))
    svg = graph_svg([*own, *beside], effects, Node("y", "y", "weight", parents, observed=True), Plate("240 rows"))
    root = ElementTree.fromstring(svg)
    parts = {
        name: [e.attrib | {"text": e.text} for e in root.iter() if e.tag.endswith(name)]
        for name in ("line", "text", "ellipse")
    }
    labels = [t for t in parts["text"] if t.get("class") == "small"]
    assert len(parts["line"]) == groups + len(parents)
    for line in parts["line"]:
        ends = np.array([[float(line[f"{axis}{end}"]) for axis in "xy"] for end in (1, 2)])
        path = ends[0] + np.linspace(0.02, 0.98, 200)[:, None] * (ends[1] - ends[0])
        for label in labels:
            half, x, y = 3.0 * len(label["text"]), float(label["x"]), float(label["y"])  # letters of 11 px
            assert not ((np.abs(path[:, 0] - x) < half) & (path[:, 1] > y - 9) & (path[:, 1] < y + 2)).any()
        for node in parts["ellipse"]:
            across = (path[:, 0] - float(node["cx"])) / float(node["rx"])
            down = (path[:, 1] - float(node["cy"])) / float(node["ry"])
            assert (across**2 + down**2 > 0.97).all()
    bounds = [float(v) for v in root.attrib["viewBox"].split()]
    assert max(float(t["y"]) for t in parts["text"]) < bounds[3]


def test_means_and_contrasts_are_those_of_the_fit(fit, tmp_path):
    html = section(report(fit, tmp_path, pictures=False), "Means and contrasts")
    table = fit.means("treatment").table()
    assert f"<td>{table['estimate'].iloc[0]:.3f}</td>" in html
    assert "Control - High" in html
    assert "Contrasts of sex" in html


def test_a_section_that_cannot_be_filled_says_why(fit, tmp_path, monkeypatch):
    def refuse(*_):
        raise blm.OptionError("There is no room.")

    monkeypatch.setitem(AFTER_PRIORS, "Effects", refuse)
    assert "Not computed: There is no room." in section(report(fit, tmp_path, pictures=False), "Effects")


def test_leave_one_out_is_that_of_loo(tmp_path):
    fit = blm.Model("Yield ~ 1 + (1 | Batch)", blm.load_dataset("dyestuff")).fit("importance", seed=1, draws=500)
    html = section(report(fit, tmp_path, pictures=False), "Prediction of rows left out")
    assert f"{blm.loo(fit)['elpd_loo']:.1f}" in html


@pytest.mark.parametrize("method", ["reml", "importance"])
def test_the_script_runs_and_gives_the_same(rats, tmp_path, method):
    """From a CSV file, which forgets the order of categories: theirs here is not that of the alphabet."""
    data = rats.assign(treatment=rats["treatment"].cat.reorder_categories(["Low", "High", "Control"]))
    model = blm.Model("weight ~ litsize + treatment + (1 | litter)", data, priors={"sd_litter": blm.HalfNormal(1)})
    fit = model.fit(method, **({"seed": 3, "draws": 50, "chains": 2} if method == "importance" else {}))
    html = section(report(fit, tmp_path, pictures=False), "How to reproduce")
    code = unescape(re.search(r"<pre>(.*?)</pre>", html, re.DOTALL)[1])
    data.to_csv(tmp_path / "data.csv", index=False)
    code += "\nprint(repr(list(fit.fixef())), list(fit.fixef().index))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    last = done.stdout.strip().splitlines()[-1]
    assert "treatment[T.Control]" in last
    numbers = [float(x) for x in re.findall(r"-?\d+\.\d+(?:e-?\d+)?", last.split("]")[0])]
    np.testing.assert_allclose(numbers, fit.fixef(), rtol=1e-6)


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize("width", [1200, 390])
def test_it_opens_offline_in_a_browser(width, tmp_path):
    """No message on the console, nothing wider than the window, and labels are texts."""
    data = blm.load_dataset("ratpup").rename(columns={"litter": NASTY})
    data["treatment"] = data["treatment"].cat.rename_categories({"High": NASTY, "Low": "L" * 120})
    fit = blm.Model(f"weight ~ litsize * treatment + sex + (sex | `{NASTY}`)", data).fit(
        "importance", seed=1, draws=100
    )
    path = fit.report(tmp_path / "report.html")
    html = path.read_text(encoding="utf-8")
    assert "<script" not in html
    probe = tmp_path / "probe.html"  # the page's own policy forbids scripts, so the probe frames it
    probe.write_text(
        f"<iframe id=f width={width} height=900 style='border:0' src='report.html'></iframe><pre id=o></pre><script>"
        "onload=()=>{const d=f.contentDocument;const r=d&&d.documentElement;"
        "o.textContent='WIDTH '+(r?r.scrollWidth:-1)+' SCRIPTS '+(d?d.scripts.length:-1)}</script>",
        encoding="utf-8",
    )
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--dump-dom",
         "--enable-logging=stderr", "--log-level=0", "--host-resolver-rules=MAP * ~NOTFOUND", probe.as_uri()],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    found = re.search(r"WIDTH (-?\d+) SCRIPTS (-?\d+)", done.stdout)
    assert found, done.stdout[-500:]
    assert 0 < int(found[1]) <= width
    assert int(found[2]) == 0
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []


def test_a_report_of_every_kind(tmp_path, rats):
    """Streamed rows, many factors, no random terms, no coefficients."""
    streamed = blm.Model("weight ~ litsize + (1 | litter)", rats.astype({"litter": int}), chunk_rows=100).fit("reml")
    assert "Effects" not in report(streamed, tmp_path)
    assert "How to reproduce" in report(blm.lmm("weight ~ sex", rats), tmp_path)
    assert "The model" in report(blm.lmm("weight ~ 0 + (1 | litter)", rats), tmp_path)
    empty = rats[~((rats["treatment"] == "High") & (rats["sex"] == "Male"))]
    html = report(blm.lmm("weight ~ treatment * sex + (1 | litter)", empty), tmp_path)
    assert "not estimable" in section(html, "Means and contrasts")
