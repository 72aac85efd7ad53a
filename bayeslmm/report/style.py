"""How a report looks: a column of 900 pixels, tables that scroll by themselves on a phone, clean on paper."""

STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: #1c2733; line-height: 1.5;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", sans-serif; }
main { max-width: 900px; margin: 0 auto; padding: 28px 20px 40px; }
h1 { font-size: 1.55rem; line-height: 1.25; margin: 0 0 12px; }
h2 { font-size: 1.1rem; margin: 34px 0 8px; padding-bottom: 4px; border-bottom: 1px solid #d9dfe5; }
p { margin: 8px 0; max-width: 46em; }
.formula { display: block; background: #f4f6f8; border-radius: 6px; padding: 10px 14px; margin: 0 0 14px;
  font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: .92rem;
  white-space: pre-wrap; overflow-wrap: anywhere; }
.verdict { border-left: 5px solid #5b6b7a; background: #f4f6f8; border-radius: 0 6px 6px 0; padding: 8px 14px;
  margin: 8px 0; max-width: none; overflow-wrap: anywhere; }
.verdict b { margin-right: .3em; }
.good { border-color: #1a7f4b; background: #eef7f1; } .good b { color: #12653a; }
.doubt { border-color: #b7791f; background: #fdf6e6; } .doubt b { color: #8a5a0f; }
.bad { border-color: #b42318; background: #fdeeec; } .bad b { color: #9b1c12; }
.facts { display: grid; grid-template-columns: max-content 1fr; gap: 3px 18px; margin: 14px 0 0; }
.facts dt { color: #5b6b7a; } .facts dd { margin: 0; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; margin: 8px 0; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 10px; text-align: right; white-space: nowrap; }
thead th { border-bottom: 1.5px solid #8795a3; font-weight: 600; vertical-align: bottom; }
thead th.group { text-align: center; border-bottom: 1px solid #c3ccd5; border-left: 12px solid #fff; }
tbody tr + tr > * { border-top: 1px solid #edf0f3; }
th.label, td.label { text-align: left; font-weight: normal; white-space: normal; overflow-wrap: break-word;
  max-width: 26em; }
thead th.label { font-weight: 600; }
.math { margin: 6px 0; line-height: 1.9; overflow-wrap: anywhere; }
.math sub, .math sup { font-size: .75em; line-height: 0; } .math small { color: #5b6b7a; }
.name { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: .92em; }
.graph { display: block; max-width: 100%; height: auto; margin: 14px 0; }
.graph text { text-anchor: middle; font-size: 15px; fill: #1c2733; } .graph .small { font-size: 11px; fill: #5b6b7a;
  paint-order: stroke; stroke: #fff; stroke-width: 4px; }
pre { background: #f4f6f8; border-radius: 6px; padding: 10px 14px; margin: 0; font-size: .82rem; line-height: 1.45;
  font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; }
.note { color: #5b6b7a; font-size: .86rem; }
figure { margin: 18px 0; } figcaption { color: #5b6b7a; font-size: .86rem; margin-bottom: 6px; }
img { max-width: 100%; height: auto; display: block; }
details { margin: 8px 0; } summary { cursor: pointer; overflow-wrap: anywhere; }
footer { margin-top: 40px; padding-top: 10px; border-top: 1px solid #d9dfe5; color: #5b6b7a; font-size: .82rem; }
@media (max-width: 600px) {
  main { padding: 18px 14px 30px; } h1 { font-size: 1.3rem; }
  .facts { grid-template-columns: 1fr; gap: 0; } .facts dd { margin-bottom: 6px; }
  th, td { padding: 4px 7px; } table { font-size: .82rem; }
  th.label, td.label { max-width: 14em; }
}
@media print {
  @page { margin: 16mm; }
  main { max-width: none; padding: 0; } body { font-size: 10pt; } table { font-size: 8.5pt; }
  .scroll { overflow: visible; } th, td { padding: 2px 6px; }
  h2 { break-after: avoid; } tr, figure, .verdict { break-inside: avoid; } thead { display: table-header-group; }
  details:not([open]) { display: none; }
  .verdict, .formula { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
