"use strict";
(() => {
  const PERIOD_MS = 5000;
  const COLOURS = { healthy: "#16a34a", degraded: "#e59a1a", unhealthy: "#dc2a38", lost: "#8a919d" };
  const live = document.getElementById("live");
  const lost = document.getElementById("lost");
  const icon = document.querySelector("link[rel=icon]");
  let answeredAt = Date.now();

  const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
  const stamp = new Intl.DateTimeFormat(undefined, {
    month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false,
  });

  function age(seconds) {
    if (seconds < 1) return "now";
    if (seconds < 60) return `${Math.floor(seconds)} s ago`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
    if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds / 60) % 60} min ago`;
    return `${Math.floor(seconds / 86400)} d ago`;
  }

  function localise() {
    for (const each of document.querySelectorAll("time")) {
      const at = new Date(each.dateTime);
      if (Number.isNaN(at.getTime())) continue;
      const style = each.dataset.style;
      each.textContent =
        style === "age" ? age((Date.now() - at) / 1000) : (style === "clock" ? clock : stamp).format(at);
    }
  }

  function paint(status) {
    document.documentElement.dataset.status = status;
    const colour = COLOURS[status] || COLOURS.lost;
    const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><circle cx="8" cy="8" r="6.5" fill="${colour}"/></svg>`;
    icon.href = `data:image/svg+xml,${encodeURIComponent(svg)}`;
  }

  // the server renders, so that there is one renderer and one place that escapes
  function take(text) {
    const page = new DOMParser().parseFromString(text, "text/html");
    const fresh = page.getElementById("live");
    if (!fresh) throw new Error("this is not the page");
    const root = document.documentElement.dataset;
    answeredAt = Date.now();
    // somebody is about to copy something: wait, unless there is news
    if (String(getSelection() || "") && root.status === page.documentElement.dataset.status) return;
    live.replaceChildren(...document.adoptNode(fresh).childNodes);
    document.title = page.title;
    paint(page.documentElement.dataset.status);
    document.body.classList.remove("stale");
    lost.hidden = true;
    localise();
  }

  // a page that stays green after the daemon has died would be a lie
  function lose(reason) {
    document.body.classList.add("stale");
    document.title = "no answer · upbitd";
    paint("lost");
    lost.textContent = `No answer from the daemon since ${clock.format(answeredAt)} (${reason}). What follows is old.`;
    lost.hidden = false;
  }

  async function refresh() {
    try {
      const answer = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(4000) });
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      take(await answer.text());
    } catch (error) {
      lose(error.name === "TimeoutError" ? "time ran out" : error.message);
    }
  }

  document.getElementById("zone").textContent = Intl.DateTimeFormat().resolvedOptions().timeZone;
  for (const link of document.querySelectorAll("footer a")) link.href += location.search;
  paint(document.documentElement.dataset.status);
  localise();
  setInterval(refresh, PERIOD_MS);
  setInterval(localise, 1000);
  document.addEventListener("visibilitychange", refresh);
})();
