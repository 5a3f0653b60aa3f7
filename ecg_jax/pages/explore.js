// Pin two components and see where they differ; open a beat of a cell.

/** Numbers of the page as millivolts and seconds. */
function scaled(page) {
  const mv = (beat) => beat && beat.map((lead) => lead.map((v) => v * page.unit_mv));
  for (const one of Object.values(page.components)) {
    for (const key of ["composite", "first", "third"]) one[key] = mv(one[key]);
    for (const beat of one.shown) beat.mv = mv(beat.mv);
  }
  page.time = Array.from({ length: page.num }, (_, at) => page.start_s + at * page.step_s);
  return page;
}

function when(t) {
  const ms = Math.round(1000 * t);
  return ms ? `${Math.abs(ms)} ms ${ms < 0 ? "before" : "after"} R` : "at R";
}

/** In which lead, where and how much two composites differ most, in words. */
function difference(page, one, other) {
  const apart = one.composite.map(
    (lead, k) => lead.map((v, at) => v - other.composite[k][at]));
  const most = apart.map((lead) => lead.reduce(
    (best, v, here) => (Math.abs(v) > Math.abs(lead[best]) ? here : best), 0));
  const size = (k) => Math.abs(apart[k][most[k]]);
  const k = most.reduce((best, _, here) => (size(here) > size(best) ? here : best), 0);
  const at = most[k], all = apart.flat();
  const mean = all.reduce((sum, v) => sum + Math.abs(v), 0) / all.length;
  const [high, low] = apart[k][at] >= 0 ? [one, other] : [other, one];
  const half = (each) => `${signed(each.first[k][at], 2)} to ` +
    `${signed(each.third[k][at], 2)} mV in ${each.name}`;
  const where = page.leads.length > 1 ? `in lead ${page.leads[k]} ` : "";
  return {
    k,
    at,
    words:
      `They differ most ${where}${when(page.time[at])}: ${high.name} is ` +
      `${size(k).toFixed(2)} mV higher there ` +
      `(${signed(high.composite[k][at], 2)} against ` +
      `${signed(low.composite[k][at], 2)} mV). ` +
      `The middle half of the beats lies there from ${half(one)}, from ${half(other)}. ` +
      `On average over the beat they are ${mean.toFixed(2)} mV apart.`,
  };
}

/** A sheet for each lead, below one another, that `draw` fills; `beats` set its limits. */
function sheets(page, label, beats, draw) {
  return page.leads.map((lead, k) => {
    const named = page.leads.length > 1 ? `lead ${lead}: ${label}` : label;
    const limits = limitsOf(...beats.map((beat) => beat[k]));
    const sheet = new Sheet(page.time, limits, lead, named);
    draw(sheet, k);
    return sheet.svg;
  });
}

class Pins {
  constructor(page) {
    this.page = page;
    this.pinned = [];
    this.bar = document.getElementById("pinned");
    this.dialog = document.getElementById("compare");
    this.buttons = new Map();
    for (const [id, one] of Object.entries(page.components)) {
      const head = document.getElementById(id)?.querySelector("h4");
      if (!head || !one.composite) continue;
      const button = element("button", { type: "button", "aria-pressed": "false" }, "Pin");
      button.className = "pin";
      button.setAttribute("aria-label", `Pin ${one.name} to compare it`);
      button.addEventListener("click", () => this.toggle(id));
      head.after(button);
      this.buttons.set(id, button);
    }
  }

  toggle(id) {
    const there = this.pinned.includes(id);
    if (there) this.pinned = this.pinned.filter((each) => each !== id);
    else this.pinned = [...this.pinned, id].slice(-2);
    this.tell();
    if (!there && this.pinned.length === 2) this.compare();
  }

  tell() {
    for (const [id, button] of this.buttons) {
      const on = this.pinned.includes(id);
      button.setAttribute("aria-pressed", String(on));
      button.textContent = on ? "Pinned" : "Pin";
    }
    const names = this.pinned.map((id) => this.page.components[id].name);
    const words = names.length === 1 ? `${names[0]} is pinned; pin one more` :
      `Pinned: ${names.join(" and ")}`;
    this.bar.hidden = !names.length;
    this.bar.replaceChildren(element("span", { role: "status" }, words));
    if (names.length === 2) this.add(this.bar, "Compare", () => this.compare());
    this.add(this.bar, "Unpin all", () => {
      const last = this.buttons.get(this.pinned.at(-1));
      this.pinned = [];
      this.tell();
      last.focus();
    });
  }

  add(where, words, does) {
    const button = element("button", { type: "button" }, words);
    button.addEventListener("click", does);
    where.append(button);
  }

  compare() {
    const { page, dialog } = this;
    const [one, other] = this.pinned.map((id) => page.components[id]);
    const title = element("h3", { id: "compare-title" }, `${one.name} and ${other.name}`);
    const bounds = [
      one.first, one.third, one.composite, other.first, other.third, other.composite];
    const colors = [SIDES[one.side] ?? INK, SIDES[other.side] ?? INK];
    if (colors[0] === colors[1]) colors[1] = INK;
    const dashes = ["", "7 4"];
    const { k: most, at, words } = difference(page, one, other);
    const label =
      `composites of ${one.name} and ${other.name}, their difference shaded. ${words}`;
    const both = sheets(page, label, bounds, (sheet, k) => {
      sheet.band(one.composite[k], other.composite[k], "#e0a100", 0.4);
      [one, other].forEach(
        (each, n) => sheet.line(each.composite[k], colors[n], dashes[n]));
      if (k === most)
        sheet.mark(page.time[at], one.composite[k][at], other.composite[k][at]);
    });
    const alone = [one, other].map((each, n) => {
      const drawn = sheets(page, `composite of ${each.name}`, bounds, (sheet, k) => {
        sheet.band(each.first[k], each.third[k], colors[n], 0.27);
        sheet.line(each.composite[k], colors[n], dashes[n]);
      });
      return element("figure", { class: "paper" }, ...drawn,
        element("figcaption", {},
          `${each.name}${each.side ? `, answered “${each.side}”` : ""}: ` +
            `${each.beats.toLocaleString("en")} beats; line: ${each.kind}, ` +
            "band: the middle half of the beats"));
    });
    const key = [one, other].map((each, n) => element("li", {},
      stroke(colors[n], dashes[n]), `${each.name}, ${each.kind}`));
    key.push(element("li", {}, swatch("#e0a100"), "where they differ; bar: most"));
    dialog.replaceChildren(title);
    this.add(dialog, "Close", () => dialog.close());
    dialog.append(element("p", {}, words),
      element("ul", { class: "legend" }, ...key),
      element("figure", { class: "paper" }, ...both),
      element("div", { class: "two" }, ...alone));
    dialog.showModal();
  }
}

function stroke(color, dash) {
  return shape("svg", { viewBox: "0 0 40 14", "aria-hidden": "true" }, shape("path", {
    d: "M2 7h36", stroke: color, "stroke-width": 3, "stroke-dasharray": dash }));
}

function swatch(color) {
  return shape("svg", { viewBox: "0 0 40 14", "aria-hidden": "true" },
    shape("path", { d: "M2 1h36v12H2z", fill: color, opacity: 0.4 }));
}

/** The few beats of a card: a button each, and the one that was asked for as a strip. */
function beatsOf(page, card, one) {
  if (!one.shown.length) return;
  const strip = element("div", { class: "strip", "aria-live": "polite" });
  strip.hidden = true;
  const buttons = one.shown.map((beat) => {
    const name = `${beat.kind}: ${placeOf(beat)}, margin ${signed(beat.margin, 2)}`;
    const button = element("button", { type: "button", "aria-expanded": "false" },
      spark(beat.mv, SIDES[beat.margin >= 0 ? "normal" : "not normal"]),
      element("span", {}, beat.kind));
    button.setAttribute("aria-label", name);
    button.title = name;
    button.addEventListener("click", () => {
      const open = button.getAttribute("aria-expanded") === "true";
      for (const each of buttons) each.setAttribute("aria-expanded", "false");
      button.setAttribute("aria-expanded", String(!open));
      strip.hidden = open;
      if (!open) strip.replaceChildren(...told(page, one, beat));
    });
    return button;
  });
  const head = element("p", { class: "note" },
    `${buttons.length} of its beats; one that is opened shows its strip, its proof and ` +
    "what would flip it");
  const row = element("div", { role: "group", "aria-label": `beats of ${one.name}` },
    ...buttons);
  card.querySelector(":scope > details").before(
    element("div", { class: "beats" }, head, row, strip));
}

function placeOf(beat) {
  const at = beat.r_time_s === null ? "" : `R at ${beat.r_time_s.toFixed(2)} s`;
  const parts = [beat.record && `recording ${beat.record}`, at].filter(Boolean);
  return parts.join(", ") || "a beat";
}

function spark(mv, color) {
  const lines = mv.map((lead, k) => {
    const low = Math.min(...lead), room = Math.max(...lead) - low || 1;
    return lead.map((v, at) =>
      `${((70 * at) / (lead.length - 1) + 1).toFixed(1)} ` +
      `${(32 * k + 31 - (30 * (v - low)) / room).toFixed(1)}`);
  });
  return shape("svg", { viewBox: `0 0 72 ${32 * mv.length}`, "aria-hidden": "true" },
    ...lines.map((points) =>
      shape("path", { d: `M${points.join("L")}`, stroke: color, fill: "none" })));
}

/** A beat over the composite of its cell, and what is known of it. */
function told(page, one, beat) {
  const answer = beat.margin >= 0 ? "normal" : "not normal";
  const label =
    `${placeOf(beat)}: the beat (solid) over the ${one.kind} of ${one.name} (dashed)`;
  const drawn = sheets(page, label, [beat.mv, one.composite], (sheet, k) => {
    sheet.line(one.composite[k], INK, "7 4");
    sheet.line(beat.mv[k], SIDES[answer]);
  });
  const digits = Math.abs(beat.margin) >= 0.005 ? 2 : 5;
  const flip = beat.flip === null ? "Not measured."
    : beat.flip || "None was found within the limits.";
  const facts = {
    Beat: placeOf(beat) + (beat.label ? `, label ${beat.label}` : ""),
    Lead: page.leads.join(", ") || "its name is not known",
    Answer: `${answer}, margin ${signed(beat.margin, digits)}`,
    "Who answers": `${beat.cell}, the component of its cell`,
    Proof: beat.prover ? `proven by ${beat.prover}`
      : "not proven: the network itself gives the answer",
    "Nearest flip": flip,
    Distance: `${beat.distance_mv.toFixed(2)} mV (root mean square) from the ${one.kind}`,
  };
  const rows = Object.entries(facts).map(([name, words]) =>
    element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, words)));
  return [
    element("figure", { class: "paper" }, ...drawn,
      element("figcaption", {}, `Solid: the beat; dashed: the ${one.kind} of ${one.name}. ` +
        "A large square is 0.5 mV and 200 ms.")),
    element("table", { class: "pairs" }, element("tbody", {}, ...rows)),
  ];
}

/** What scrolls can be reached by the keyboard in every browser. */
function reachScrolled() {
  const boxes = [...document.querySelectorAll(".scroll, figure, .eq, pre")];
  const scrolls = boxes.map((box) => getComputedStyle(box).overflowX === "auto" &&
    (box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight));
  boxes.forEach((box, at) => {
    if (scrolls[at] === (box.tabIndex === 0)) return;
    if (scrolls[at]) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  });
}

addEventListener("load", () => setTimeout(reachScrolled)); // sizes are known by then
addEventListener("resize", reachScrolled);
document.addEventListener("toggle", reachScrolled, true);
const form = document.getElementById("explore");
if (form) {
  const page = scaled(JSON.parse(document.getElementById("page-data").textContent));
  for (const [id, one] of Object.entries(page.components)) {
    beatsOf(page, document.getElementById(id), one);
  }
  new Pins(page);
  new Filter(form, page.components);
}
