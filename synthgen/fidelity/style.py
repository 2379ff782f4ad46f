"""The style of the page: light and dark, wide and narrow."""

STYLE = """\
:root {
  --paper: #fbfbfa; --card: #ffffff; --ink: #1d1f23; --soft: #5d636d; --grid: #d9dce1;
  --good: #1b7f3b; --bad: #b3261e; --good-paper: #e9f5ec; --bad-paper: #fcebe9;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #15171a; --card: #1d2024; --ink: #e6e8eb; --soft: #a2a8b2; --grid: #3a3f47;
    --good: #6fd28c; --bad: #ff8f86; --good-paper: #17291d; --bad-paper: #351c1a;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 1.2rem 1.2rem 3rem; }
h1 { font-size: 1.5rem; line-height: 1.25; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2rem 0 .7rem; }
.verdict { border-left: 6px solid; border-radius: 6px; padding: .8rem 1.1rem; }
.verdict.pass { border-color: var(--good); background: var(--good-paper); }
.verdict.fail { border-color: var(--bad); background: var(--bad-paper); }
.verdict .headline { font-size: 1.15rem; margin: 0; }
.pass .headline strong { color: var(--good); }
.fail .headline strong { color: var(--bad); }
.verdict ul { margin: .6rem 0 0; padding-left: 1.2rem; }
.notes { color: var(--soft); font-size: .9rem; padding-left: 1.2rem; overflow-wrap: anywhere; }
.text { max-width: 46rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .93rem; }
th, td { padding: .3rem .6rem; text-align: right; border-bottom: 1px solid var(--grid); }
th:first-child { text-align: left; font-weight: 400; }
thead th, thead th:first-child { color: var(--soft); font-weight: 600; }
td.word { font-weight: 600; }
tr.ok .word { color: var(--good); }
tr.fails .word { color: var(--bad); }
tr.fails { background: var(--bad-paper); }
abbr { text-decoration: none; }
.charts { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 340px), 1fr)); }
figure { margin: 0; padding: .8rem; background: var(--card); border: 1px solid var(--grid);
  border-radius: 8px; display: flex; flex-direction: column; }
figcaption { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 0 1rem;
  margin-bottom: .4rem; }
figure svg { width: 100%; height: auto; display: block; }
figure svg text { font-family: system-ui, sans-serif !important; }
figure p { margin: .4rem 0 0; font-size: .83rem; color: var(--soft); }
.legend { font-size: .8rem; color: var(--soft); display: flex; gap: .8rem; align-items: center; }
.legend span::before { content: ""; display: inline-block; width: 1.3em; margin-right: .35em;
  vertical-align: middle; border-top: 3px solid; }
.legend .real::before { border-color: #2f7de1; }
.legend .synthetic::before { border-color: #e8710a; border-top-style: dashed; }
.legend .recipe::before { border-color: #8b8f98; border-top-style: dotted; }
@media (max-width: 700px) {
  main { padding: .8rem .8rem 2rem; }
  thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  table, tbody { display: block; }
  tr { display: grid; grid-template-columns: repeat(3, 1fr); gap: .1rem .6rem; padding: .5rem .3rem;
    border-bottom: 1px solid var(--grid); }
  tr th:first-child { grid-column: 1 / -1; font-weight: 600; padding: 0; border: 0; }
  td { border: 0; padding: 0; text-align: left; }
  td::before { content: attr(data-name); display: block; font-size: .72rem; font-weight: 400;
    color: var(--soft); }
}
"""
