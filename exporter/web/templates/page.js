// Without JavaScript the page reloads itself. With it, only what has changed is replaced: scroll position, focus and a
// screen reader's place stay.
(() => {
  const silent = document.getElementById("silent");
  const parts = "#asof, main > section";
  const headline = (part) => part.textContent.replace(/[0-9.,:$-]+/g, "#"); // the same note with other figures
  let asking = false;
  const refresh = async () => {
    if (document.hidden || asking) return;
    asking = true;
    try {
      const answer = await fetch(location.pathname, { cache: "no-store", signal: AbortSignal.timeout(10000) });
      if (!answer.ok) throw new Error(answer.statusText);
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      const same = [...document.querySelectorAll(parts)].map((part) => part.id).join() ===
        [...fresh.querySelectorAll(parts)].map((part) => part.id).join();
      if (!same) { location.reload(); return; }
      for (const part of document.querySelectorAll(parts)) {
        const now = fresh.getElementById(part.id);
        const focused = part.contains(document.activeElement) ? headline(document.activeElement) : null;
        const opened = new Set([...part.querySelectorAll("details[open] > summary")].map(headline));
        for (const summary of now.querySelectorAll("summary")) {
          summary.parentElement.open = opened.has(headline(summary));
        }
        if (now.innerHTML === part.innerHTML) continue;
        // A screen reader announces another problem, and not every other figure.
        if (part.hasAttribute("aria-live")) {
          part.setAttribute("aria-live", headline(part) === headline(now) ? "off" : "polite");
        }
        part.replaceChildren(...now.childNodes);
        [...part.querySelectorAll("summary")].find((summary) => headline(summary) === focused)?.focus();
      }
      document.title = fresh.title;
      silent.hidden = true;
    } catch {
      silent.hidden = false;
    } finally {
      asking = false;
    }
  };
  setInterval(refresh, {{ refresh_seconds * 1000 }});
  document.addEventListener("visibilitychange", refresh);
})();
