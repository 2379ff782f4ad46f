"""Formulas in TeX as text, where they are simple enough to be read in a sentence."""

from __future__ import annotations

import re

_PAIRS = """
    alpha=α beta=β gamma=γ delta=δ epsilon=ε varepsilon=ε zeta=ζ eta=η theta=θ iota=ι kappa=κ
    lambda=λ mu=μ nu=ν xi=ξ pi=π rho=ρ sigma=σ tau=τ upsilon=υ phi=φ varphi=φ chi=χ psi=ψ omega=ω
    Gamma=Γ Delta=Δ Theta=Θ Lambda=Λ Xi=Ξ Pi=Π Sigma=Σ Phi=Φ Psi=Ψ Omega=Ω times=× cdot=· le=≤ leq=≤
    ge=≥ geq=≥ ne=≠ neq=≠ approx=≈ equiv=≡ pm=± infty=∞ in=∈ to=→ rightarrow=→ mapsto=↦ sum=∑ prod=∏
    int=∫ partial=∂ nabla=∇ cup=∪ cap=∩ subset=⊂ subseteq=⊆ forall=∀ exists=∃ ldots=… dots=… cdots=…
    ell=ℓ hbar=ħ circ=∘ langle=⟨ rangle=⟩ sim=~ ll=≪ gg=≫ deg=deg log=log ln=ln exp=exp sin=sin
    cos=cos tan=tan max=max min=min lim=lim
"""
#: Commands of TeX and their signs.
_SYMBOLS = dict(pair.split("=") for pair in _PAIRS.split())
_COMMAND = re.compile(r"\\([A-Za-z]+)")
_DRESSED = re.compile(
    r"\\(?:math(?:rm|bf|it|bb|cal|sf)|text(?:rm|bf)?|operatorname|vec|hat|bar|boldsymbol|rm|bf|ce)\b"
)
_SPACES = re.compile(r"\\[,;:! ]|\\q?quad\b|~|\\left\b|\\right\b|\\displaystyle\b|\\scriptstyle\b")
_LONGEST = 60


def read_formula(tex: str) -> str:
    """Return ``tex`` as text of one line, such as ``E = mc^2`` or ``α ≤ β``; nothing where it does not read
    as text (commands that have no sign of their own, more than 60 characters).
    """
    if len(tex) > 4 * _LONGEST:
        return ""
    text = _DRESSED.sub("", _SPACES.sub(" ", tex))
    text = _COMMAND.sub(lambda match: _SYMBOLS.get(match.group(1), match.group()), text)
    text = " ".join(text.replace(r"\{", "⦃").replace("{", "").replace("}", "").replace("⦃", "").split())
    return "" if "\\" in text or "&" in text or len(text) > _LONGEST else text
