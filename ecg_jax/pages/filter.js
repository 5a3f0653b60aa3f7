// Filter, sort and find the cards of the components; what is asked stands in the link.

const MARK = "#show:";

class Filter {
  constructor(form, components) {
    this.form = form;
    this.components = components;
    this.found = document.getElementById("found");
    this.decks = document.getElementById("decks");
    this.homes = [...this.decks.querySelectorAll(".cards")].map(
      (deck) => [deck, [...deck.children]]);
    this.cards = this.homes.flatMap(([, cards]) => cards);
    this.words = new Map(this.cards.map((card) => [card, wordsOf(card, components)]));
    form.hidden = false;
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", () => this.show());
    form.addEventListener("reset", () => setTimeout(() => this.show()));
    addEventListener("hashchange", () => this.read());
    document.addEventListener("click", (event) => {
      const link = event.target.closest('a[href^="#"]');
      if (link) this.reveal(link.getAttribute("href").slice(1));
    });
    this.read();
  }

  /** Take what is asked from the link, if it says so. */
  read() {
    if (!location.hash.startsWith(MARK)) return this.show(false);
    this.form.reset();
    for (const [name, value] of new URLSearchParams(location.hash.slice(MARK.length))) {
      const field = this.form.elements.namedItem(name);
      if (field) field.value = value;
    }
    this.show(false);
  }

  /** What differs from the form as it was. */
  asked() {
    const usual = (field) => {
      if (field.type === "radio") return field.defaultChecked === field.checked;
      if (field.type === "select-one") return field.selectedIndex === 0;
      return !field.value || field.value === field.defaultValue;
    };
    const out = new URLSearchParams();
    for (const field of this.form.elements) {
      const given = field.name && (field.type !== "radio" || field.checked);
      if (given && !usual(field)) out.set(field.name, field.value);
    }
    return out;
  }

  show(keep = true) {
    const asked = this.asked();
    const matching = this.cards.filter((card) => this.matches(card, asked));
    const [key, sign] = (asked.get("order") ?? "").split(" ");
    const rank = (card) => this.components[card.id][key] ?? Number(sign) * Infinity
    if (key) matching.sort((a, b) => Number(sign) * (rank(a) - rank(b)));
    const all = !asked.size;
    if (!all) this.found.replaceChildren(...matching);
    else if (!this.found.hidden) {
      for (const [deck, cards] of this.homes) deck.append(...cards);
    }
    this.found.hidden = all;
    this.decks.hidden = !all;
    const total = this.cards.length;
    this.form.querySelector("output").textContent = all
      ? `All ${total} components`
      : `${matching.length || "None"} of ${total} components`;
    const own = location.hash.startsWith(MARK);
    if (keep && (!all || own)) {
      history.replaceState(null, "", all ? "#tree" : `${MARK}${asked}`);
    }
  }

  matches(card, asked) {
    const one = this.components[card.id];
    const number = (name, otherwise) => {
      const value = asked.get(name);
      return value ? Number(value) : otherwise;
    };
    const within = (key) => {
      if (!asked.has(`${key}-from`) && !asked.has(`${key}-to`)) return true;
      const value = one[key] === null ? NaN : 100 * one[key];
      return value >= number(`${key}-from`, 0) && value <= number(`${key}-to`, 100);
    };
    const words = (asked.get("find") ?? "").toLowerCase().split(/\s+/);
    return (!asked.get("side") || one.side === asked.get("side"))
      && within("normal") && within("proven")
      && one.beats >= number("beats", 0)
      && words.every((word) => this.words.get(card).includes(word));
  }

  /** Show all cards again where a link leads to one that is not shown. */
  reveal(id) {
    const card = this.cards.find((each) => each.id === decodeURIComponent(id));
    if (card && !this.decks.hidden) card.closest("details")?.setAttribute("open", "");
    if (!card || !this.decks.hidden || this.found.contains(card)) return;
    this.form.reset();
    this.show();
    card.closest("details")?.setAttribute("open", "");
  }
}

/** Name and sentences of a card, and the recordings of its beats, in small letters. */
function wordsOf(card, components) {
  const told = [...card.querySelectorAll("h4, .opening, .who")];
  const records = components[card.id].shown.map((beat) => beat.record);
  return [...told.map((part) => part.textContent), ...records].join(" ").toLowerCase();
}
