// Searching while somebody types, and buttons that copy a command. Without this the pages work all the same.

const find = document.getElementById("find");
const start = document.getElementById("start");
const WAIT_MS = 150;
let timer = 0;
let asked = 0;

// Other pages have no list to show: there the form leads to the one that has.
if (start) find.addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(look, WAIT_MS);
});

async function look() {
  const text = find.value.trim();
  const address = text ? `${find.form.action}?${new URLSearchParams({ q: text })}` : find.form.action;
  const mine = ++asked;
  let page;
  try {
    const answer = await fetch(address);
    if (!answer.ok) return;
    page = new DOMParser().parseFromString(await answer.text(), "text/html");
  } catch {
    return; // Enter sends the form, whose page says what is wrong.
  }
  if (mine !== asked) return;
  document.getElementById("results").replaceChildren(...page.getElementById("results").children);
  start.hidden = Boolean(text);
  document.title = page.title;
  history.replaceState(null, "", address);
}

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input, textarea, select");
  if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  find.focus();
});

if (navigator.clipboard) for (const box of document.querySelectorAll(".command")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(box.querySelector("code").textContent);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Not allowed";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  box.append(button);
}
