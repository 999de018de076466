// In a table of class "sortable" each column's name is a button: it sorts the rows, and pressed again reverses them.
"use strict";

const order = new Intl.Collator("en").compare;
const shown = (row, column) => row.cells[column].textContent.trim();
const value = (text) => parseFloat(text.replace(/^[≥≤] /, "")); // NaN where the text begins with no number

function sort(table, column) {
  const heads = [...table.tHead.rows[0].cells];
  const down = heads[column].ariaSort === "ascending";
  const body = table.tBodies[0];
  const [empty, rows] = [true, false].map((dash) => [...body.rows].filter((r) => (shown(r, column) === "—") === dash));
  const numeric = rows.every((row) => !isNaN(value(shown(row, column))));
  const compare = numeric ? (a, b) => value(a) - value(b) : order;
  rows.sort((a, b) => compare(shown(a, column), shown(b, column)) * (down ? -1 : 1));
  body.append(...rows, ...empty); // what was not measured stays last
  heads.forEach((head) => head.removeAttribute("aria-sort"));
  heads[column].ariaSort = down ? "descending" : "ascending";
}

document.addEventListener("DOMContentLoaded", () => {
  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.textContent = head.textContent;
      button.addEventListener("click", () => sort(table, column));
      head.replaceChildren(button);
    });
  }
});
