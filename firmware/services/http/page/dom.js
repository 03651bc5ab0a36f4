// Elements. Text becomes text nodes, never markup: names come from the device.

const $ = id => document.getElementById(id);

// The text without what changes how a line is shown: control characters, bidirectional marks, line separators and halves
// of characters become U+FFFD.
const visible = text => String(text).replace(/[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]|\p{Cs}/gu, "\ufffd");
function setText(element, text) {
  element.textContent = visible(text);
}

// el("td", {class: "n", onclick: f}, "text", element, ...); attributes that are false or null are left out.
function el(tag, attributes, ...children) {
  return filled(document.createElement(tag), attributes, children);
}
const svg = (tag, attributes, ...children) => filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value != null && value !== false) element.setAttribute(name, value === true ? "" : name === "aria-label" || name === "placeholder" ? translated(value) : value);
  }
  element.append(...children.flat(Infinity).filter(child => child != null).map(child => child instanceof Node ? child : visible(translated(child))));
  return element;
}

// Lines of text as they are: visible() would replace their ends.
function textBlock(lines) {
  const block = el("pre", { tabindex: 0 });
  block.textContent = lines.map(visible).join("\n");
  return block;
}

const button = (text, onclick, kind, attributes) => el("button", { type: "button", class: kind, onclick, ...attributes }, text);
const card = (title, ...children) => el("section", null, el("h2", null, title), ...children);
const dim = (...children) => el("p", { class: "dim" }, ...children);

// The head of a column; one of numbers starts with ">".
const numberKind = name => name[0] === ">" ? "n" : null;
const headCell = name => el("th", { role: "columnheader", class: numberKind(name), scope: "col" }, name.replace(">", ""));

// A table that is wider than a phone becomes a list there: each row a block, each cell with its column's name. The roles say
// that it is a table all the same.
const STACKED_FROM = 6; // columns

function table(columns, rows, kind = columns.length >= STACKED_FROM && "stacked") {
  const names = columns.map(name => kind && translated(name.replace(">", "")));
  const body = rows.map(row => el("tr", { role: "row" }, row.map((cell, i) => el("td", { role: "cell", class: numberKind(columns[i]), "data-name": names[i] }, cell ?? ""))));
  return el("div", { class: "scroll", tabindex: 0 }, el("table", { role: "table", class: kind }, el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, columns.map(headCell))), el("tbody", { role: "rowgroup" }, body)));
}

// Whether a filter lets the text pass: it has all of the words, in whatever case.
const hasWords = (text, words) => words.toLowerCase().split(/\s+/).every(word => text.toLowerCase().includes(word));

// Puts a new state of something in the place of the old; nothing is touched when it is the same, so that focus,
// selection and scrolling stay.
function replace(old, fresh) {
  if (old.isEqualNode(fresh)) return old;
  old.replaceWith(fresh);
  return fresh;
}

// Shows the result of an action. A success disappears by itself.
const NOTICE_MS = 8000;
let noticeTimer = 0;

function notice(text, bad) {
  setText($("notice"), translated(text));
  $("notice").className = bad ? "bad" : "good";
  clearTimeout(noticeTimer);
  if (text && !bad) noticeTimer = setTimeout(notice, NOTICE_MS, "");
}

// Runs what a button stands for, and says what went wrong. The button waits meanwhile.
async function attempt(event, action) {
  const pressed = event.submitter || event.currentTarget;
  event.preventDefault();
  pressed.toggleAttribute("disabled", true);
  notice("");
  try {
    await action();
  } catch (error) {
    notice(error.message, true);
  }
  pressed.toggleAttribute("disabled", false);
}

// A question with two answers; true for `yes`. With `wanted`, that text has to be typed first.
function confirmed(question, yes, wanted) {
  const dialog = $("dialog");
  const typed = el("input", { type: "text", autocomplete: "off", "aria-labelledby": "question" });
  const agree = el("button", { value: "yes", class: "danger", disabled: Boolean(wanted) }, yes);
  typed.addEventListener("input", () => { agree.disabled = typed.value !== wanted; });
  dialog.replaceChildren(el("form", { method: "dialog" },
    el("p", { id: "question" }, question), wanted && typed,
    el("div", { class: "actions" }, agree, el("button", { value: "no", class: "plain", formnovalidate: true }, "Cancel"))));
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise(resolve => { dialog.onclose = () => resolve(dialog.returnValue === "yes"); });
}
