// ECG paper as SVG: the grid, the colors and the proportions of the page's figures.

const SVG = "http://www.w3.org/2000/svg";
const PAPER = "#fffaf7", MINOR = "#f8e3de", MAJOR = "#edbdb4", INK = "#1c2630";
const SIDES = { normal: "#0069a8", "not normal": "#c8500a" };
const PX_PER_S = 300, PX_PER_MV = 120; // 25 mm/s beside 10 mm/mV
const LEFT = 46, BOTTOM = 40, TOP = 8, RIGHT = 12;
const MINUS = "\u2212";

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function shape(tag, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function signed(value, digits) {
  return value.toFixed(digits).replace("-", MINUS);
}

/** Whole large squares that hold some beats, and 0 and 1 mV; at most -4 to 6 mV. */
function limitsOf(...beats) {
  const all = beats.flat();
  const low = Math.max(Math.min(-0.3, ...all), -4);
  const high = Math.min(Math.max(1.1, ...all), 6);
  return [Math.floor(2 * low) / 2, Math.ceil(2 * high) / 2];
}

/** A sheet of paper with seconds, millivolts and the lead at its edges. */
class Sheet {
  constructor(time, limits, lead, label) {
    this.time = time;
    [this.low, this.high] = limits;
    const [start, stop] = [time[0], time[time.length - 1]];
    const width = PX_PER_S * (stop - start), height = PX_PER_MV * (this.high - this.low);
    const box = [0, 0, LEFT + width + RIGHT, TOP + height + BOTTOM];
    this.svg = shape("svg", {
      viewBox: box.map(Math.round).join(" "), role: "img", "aria-label": label,
    });
    this.svg.style.maxWidth = `${Math.round(1.3 * box[2])}px`;
    this.svg.append(shape("rect", { width: "100%", height: "100%", fill: PAPER }));
    this.rule(0.04, 0.1, MINOR, 0.5);
    this.rule(0.2, 0.5, MAJOR, 0.8);
    for (const t of ruled(start, stop, 0.2)) {
      this.say(this.x(t), TOP + height + 14, `${signed(1000 * t, 0)}`, "middle");
    }
    for (const v of ruled(this.low, this.high, 0.5)) {
      this.say(LEFT - 5, this.y(v) + 3.5, signed(v, 1), "end");
    }
    this.say(LEFT + width / 2, TOP + height + 31, "time from R (ms)", "middle");
    const unit = this.say(0, 0, lead ? `lead ${lead} (mV)` : "mV", "middle");
    unit.setAttribute("transform", `translate(12 ${TOP + height / 2}) rotate(-90)`);
  }

  x(t) { return LEFT + PX_PER_S * (t - this.time[0]); }

  y(v) {
    const inside = Math.min(Math.max(v, this.low), this.high);
    return TOP + PX_PER_MV * (this.high - inside);
  }

  rule(wide, high, stroke, width) {
    const [start, stop] = [this.time[0], this.time[this.time.length - 1]];
    const lines = [
      ...ruled(start, stop, wide).map(
        (t) => `M${this.x(t).toFixed(1)} ${this.y(this.low)}V${this.y(this.high)}`),
      ...ruled(this.low, this.high, high).map(
        (v) => `M${this.x(start)} ${this.y(v).toFixed(1)}H${this.x(stop).toFixed(1)}`),
    ];
    this.svg.append(
      shape("path", { d: lines.join(""), stroke, "stroke-width": width, fill: "none" }));
  }

  say(x, y, words, anchor, color = INK) {
    const style = { x, y, fill: color, "font-size": 11, "text-anchor": anchor };
    const text = shape("text", style, words);
    this.svg.append(text);
    return text;
  }

  points(beat) {
    return beat.map(
      (v, at) => `${this.x(this.time[at]).toFixed(1)} ${this.y(v).toFixed(1)}`);
  }

  line(beat, color, dash = "") {
    const style = { d: `M${this.points(beat).join("L")}`, fill: "none" };
    this.svg.append(shape("path", {
      ...style, stroke: color, "stroke-width": 2, "stroke-linejoin": "round",
      "stroke-dasharray": dash,
    }));
  }

  band(first, second, color, opacity) {
    const around = [...this.points(first), ...this.points(second).reverse()];
    this.svg.append(
      shape("path", { d: `M${around.join("L")}Z`, fill: color, opacity }));
  }

  mark(t, low, high) {
    const x = this.x(t).toFixed(1);
    const d = `M${x} ${this.y(low).toFixed(1)}V${this.y(high).toFixed(1)}`;
    this.svg.append(shape("path", { d, stroke: INK, "stroke-width": 2.5 }));
  }
}

function ruled(low, high, step) {
  const out = [];
  const last = Math.floor(high / step + 1e-6);
  for (let at = Math.ceil(low / step - 1e-6); at <= last; at++) out.push(at * step);
  return out;
}
