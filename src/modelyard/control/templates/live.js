// Every ten seconds: take what changed, and keep the reader's place, focus, selection and opened details.
let seen = document.querySelector("main").innerHTML;
const words = document.getElementById("live");
const controls = () => [...document.querySelectorAll("main a, main summary, main select, main button, main [tabindex]")];
const swap = (next) => {
  const main = document.querySelector("main"), active = document.activeElement, index = controls().indexOf(active);
  if (next.innerHTML === seen || !getSelection().isCollapsed || ["SELECT", "INPUT"].includes(active.tagName)) return;
  const opened = [...main.querySelectorAll("details[id]")].map((d) => [d.id, d.open]);
  const scrolled = [...main.querySelectorAll(".scroll")].map((s) => [s.scrollLeft, s.scrollTop]);
  seen = next.innerHTML;
  main.replaceWith(next);
  opened.forEach(([id, open]) => { const d = document.getElementById(id); if (d) d.open = open; });
  next.querySelectorAll(".scroll").forEach((s, i) => { if (scrolled[i]) [s.scrollLeft, s.scrollTop] = scrolled[i]; });
  if (index >= 0) controls()[index]?.focus({ preventScroll: true });
};
setInterval(async () => {
  if (document.hidden) return;
  try {
    const answer = await fetch(location.href, { cache: "no-store" });
    if (!answer.ok) return location.reload();
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    swap(page.querySelector("main"));
    words.replaceChildren(...page.getElementById("live").childNodes);
    words.classList.remove("lost");
  } catch {
    if (!words.classList.contains("lost")) words.prepend("The control plane does not answer. ");
    words.classList.add("lost");
  }
}, 10000);
