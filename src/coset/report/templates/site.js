// Search in the index of search.js, the colours of the page, copying of code, the menu of a narrow screen.
const root = document.documentElement.dataset.root;
const box = document.getElementById("find");
const found = document.getElementById("found");
const menu = document.getElementById("menu");
const narrow = matchMedia("(max-width: 60rem)");

function fold() { menu.open = !narrow.matches; }
narrow.addEventListener("change", fold);
fold();

// A page scores for every word of the query: title, heading, text; all words must be somewhere in it.
function score(page, words) {
  const title = page.t.toLowerCase(), text = page.w.toLowerCase();
  let total = 0, heading = null;
  for (const word of words) {
    const at = page.h.find(([, plain]) => plain.toLowerCase().includes(word));
    const points = (title.includes(word) ? 12 : 0) + (page.p.includes(word) ? 6 : 0) + (at ? 5 : 0) + (text.includes(word) ? 1 : 0);
    if (!points) return null;
    heading = heading || at;
    total += points;
  }
  return { page, total, heading };
}

function snippet(page, word) {
  const at = page.w.toLowerCase().indexOf(word);
  return at < 0 ? page.w.slice(0, 110) : (at > 40 ? "… " : "") + page.w.slice(Math.max(0, at - 40), at + 80) + " …";
}

function search() {
  const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
  const hits = words.length ? PAGES.map((page) => score(page, words)).filter(Boolean) : [];
  hits.sort((a, b) => b.total - a.total);
  found.replaceChildren(...hits.slice(0, 12).map(({ page, heading }) => {
    const item = document.createElement("li"), link = document.createElement("a"), small = document.createElement("small");
    link.href = root + page.p + (heading && !page.t.toLowerCase().includes(words[0]) ? "#" + heading[0] : "");
    link.textContent = page.t;
    small.textContent = snippet(page, words[0]);
    link.append(small);
    item.append(link);
    return item;
  }));
  if (words.length && !hits.length) {
    const none = document.createElement("p");
    none.textContent = "Nothing found.";
    found.append(none);
  }
}

box.addEventListener("input", search);
document.addEventListener("keydown", (event) => {
  const links = [...found.querySelectorAll("a")], at = links.indexOf(document.activeElement);
  if (event.key === "/" && !/^(INPUT|TEXTAREA)$/.test(document.activeElement.tagName)) { box.focus(); event.preventDefault(); }
  if (event.key === "Escape") { box.value = ""; search(); box.blur(); }
  if (event.key === "Enter" && document.activeElement === box && links[0]) links[0].click();
  if (links.length && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
    const next = at + (event.key === "ArrowDown" ? 1 : -1);
    (next < 0 ? box : links[Math.min(next, links.length - 1)]).focus();
    event.preventDefault();
  }
});

document.getElementById("theme").addEventListener("click", () => {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const now = document.documentElement.dataset.theme || (dark ? "dark" : "light");
  document.documentElement.dataset.theme = now === "dark" ? "light" : "dark";
  try { localStorage.setItem("coset-theme", document.documentElement.dataset.theme); } catch { /* a page from disk may not keep it */ }
});

document.querySelector(".page > nav [aria-current]")?.scrollIntoView({ block: "nearest" });

// What is copied are the commands of a transcript, not what they printed.
for (const block of document.querySelectorAll("main pre")) {
  if (!navigator.clipboard) break;
  const button = document.createElement("button");
  button.textContent = "copy";
  const text = block.textContent;
  const commands = text.startsWith("$ ") ? text.split("\n").filter((l) => l.startsWith("$ ")).map((l) => l.slice(2)).join("\n") : text;
  button.addEventListener("click", () => navigator.clipboard.writeText(commands).then(() => { button.textContent = "copied"; }));
  block.append(button);
}
document.documentElement.dataset.ready = "1";
