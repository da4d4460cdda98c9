// What is nicer with a script: choices that filter the table at once, and buttons that copy a line. Nothing needs it.
"use strict";

const told = document.getElementById("told");

function tell(text) {
  told.textContent = "";
  setTimeout(() => { told.textContent = text; }, 50); // the same text twice is two messages
}

async function copy(line, button) {
  try {
    await navigator.clipboard.writeText(line.textContent);
    button.textContent = "Copied";
    tell("Copied: " + line.textContent);
  } catch {
    getSelection().selectAllChildren(line);
    tell("Selected: copy it with Ctrl and C");
  }
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
}

for (const line of document.querySelectorAll(".command")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.setAttribute("aria-label", "Copy the line that starts " + line.dataset.of);
  button.addEventListener("click", () => copy(line, button));
  line.after(button);
}

const form = document.getElementById("filter");

function filter() {
  const chosen = [...new FormData(form).values()].filter(Boolean);
  let found = 0;
  for (const row of document.querySelectorAll("#all tbody tr")) {
    const fits = row.dataset.fits.split(" ");
    row.hidden = !chosen.every((slug) => fits.includes(slug));
    found += row.hidden ? 0 : 1;
  }
  document.getElementById("count").textContent = found + (found === 1 ? " image" : " images");
  document.getElementById("none").hidden = found > 0;
  document.getElementById("all").hidden = found === 0;
  const query = new URLSearchParams(chosen.map((slug) => [form.elements[slug].name, slug]));
  try {
    history.replaceState(null, "", chosen.length ? "?" + query : location.pathname);
  } catch { /* some browsers keep the address of a file as it is */ }
}

if (form) {
  const asked = new URLSearchParams(location.search);
  for (const input of form.querySelectorAll("input")) {
    if (input.value && asked.get(input.name) === input.value) input.checked = true;
  }
  form.addEventListener("change", filter);
  form.addEventListener("reset", () => setTimeout(filter));
  document.getElementById("links").hidden = true;
  form.hidden = false;
  filter();
}
