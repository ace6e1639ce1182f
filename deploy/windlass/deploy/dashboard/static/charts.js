// Draws the page's figures with plotly, in the page's own colours, and again when they change.
"use strict";
(() => {
  const figures = new Map();
  let printing = false;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");

  // A figure names colours as CSS properties: --busy.
  function coloured(value, style) {
    if (typeof value === "string") {
      return value.startsWith("--") ? style.getPropertyValue(value).trim() : value;
    }
    if (Array.isArray(value)) {
      return typeof value[0] === "object" ? value.map((one) => coloured(one, style)) : value;
    }
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, coloured(v, style)]));
    }
    return value;
  }

  function draw(id, figure) {
    const element = document.getElementById(id);
    if (!element || !window.Plotly) return;
    figures.set(id, figure);
    const style = getComputedStyle(document.documentElement);
    const { data, layout } = coloured(figure, style);
    Plotly.react(
      element,
      data,
      {
        ...layout,
        paper_bgcolor: "rgba(0,0,0,0)",
        plot_bgcolor: "rgba(0,0,0,0)",
        ...(printing ? { width: 660, autosize: false } : {}),
        font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: style.getPropertyValue("--text").trim() },
      },
      { displayModeBar: false, responsive: !printing },
    );
    element.dataset.drawn = "yes";
  }

  window.windlassDraw = draw;
  for (const script of document.querySelectorAll("script[data-figure]")) {
    draw(script.dataset.figure, JSON.parse(script.textContent));
  }
  const again = () => figures.forEach((figure, id) => draw(id, figure));
  dark.addEventListener("change", again);
  // Paper is white and as wide as it is.
  function print(on) {
    printing = on;
    document.documentElement.classList.toggle("printing", on);
    again();
  }
  window.addEventListener("beforeprint", () => print(true));
  window.addEventListener("afterprint", () => print(false));
})();
