// Without JavaScript the page reloads itself. With it, only what has changed is replaced: scroll position, focus and a
// screen reader's place stay.
(() => {
  const silent = document.getElementById("silent");
  const parts = "#asof, main > section";
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
        if (now.innerHTML !== part.innerHTML) part.replaceChildren(...now.childNodes);
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
