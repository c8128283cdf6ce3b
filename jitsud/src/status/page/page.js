// Keeps the page as the node is. Without it the page is as the node was when it was loaded.
(() => {
  "use strict";
  const root = document.documentElement;
  const live = document.getElementById("live");
  let shownAt = performance.now();
  let stream, loading, stale;

  const say = (state, text) => {
    if (live.textContent !== text) live.textContent = text;
    live.dataset.live = state;
  };

  // As the server writes them: words.rs.
  const span = s =>
    s < 60 ? `${s}\u00a0s`
    : s < 3600 ? `${Math.floor(s / 60)}\u00a0min`
    : s < 86400 ? `${Math.floor(s / 3600)}\u00a0h ${Math.floor(s / 60) % 60}\u00a0min`
    : `${Math.floor(s / 86400)}\u00a0d ${Math.floor(s / 3600) % 24}\u00a0h`;

  const tick = () => {
    const passed = Math.floor((performance.now() - shownAt) / 1000);
    for (const time of document.querySelectorAll("time")) {
      const { s, until } = time.dataset;
      const text = span(until === undefined ? +s + passed : Math.max(until - passed, 0));
      if (time.textContent !== text) time.textContent = text;
    }
  };

  // Makes `shown` like `next` by changing nothing but what differs.
  const follow = (shown, next) => {
    if (shown.nodeType === Node.TEXT_NODE) {
      if (shown.data !== next.data) shown.data = next.data;
      return;
    }
    if (next.hasAttribute("data-keep")) return;
    for (const { name } of [...shown.attributes]) if (!next.hasAttribute(name)) shown.removeAttribute(name);
    for (const { name, value } of next.attributes) {
      if (shown.getAttribute(name) !== value) shown.setAttribute(name, value);
    }
    const children = [...next.childNodes];
    children.forEach((child, index) => {
      const old = shown.childNodes[index];
      if (old && old.nodeName === child.nodeName && old.id === child.id) follow(old, child);
      else if (old) old.replaceWith(document.importNode(child, true));
      else shown.append(document.importNode(child, true));
    });
    while (shown.childNodes.length > children.length) shown.lastChild.remove();
  };

  const load = async () => {
    stale = true;
    if (loading) return;
    loading = true;
    try {
      while (stale) {
        stale = false;
        const answer = await fetch(location.href, { cache: "no-store" });
        if (answer.status === 503) throw new Error(answer.statusText);
        const next = new DOMParser().parseFromString(await answer.text(), "text/html");
        const lines = document.getElementById("lines");
        const atEnd = lines && lines.scrollTop + lines.clientHeight >= lines.scrollHeight - 4;
        root.dataset.seen = next.documentElement.dataset.seen;
        document.title = next.title;
        for (const part of ["header", "main"]) follow(document.querySelector(part), next.querySelector(part));
        if (atEnd) lines.scrollTop = lines.scrollHeight;
        shownAt = performance.now();
      }
    } catch {
      // The stream ends with the node; when there is one again, it says what was missed.
      stream.close();
      setTimeout(listen, 3000);
    }
    loading = false;
  };

  const listen = () => {
    if (document.hidden) return;
    stream?.close();
    stream = new EventSource(`${location.pathname.replace(/\/$/, "")}/changes`);
    stream.onopen = () => say("yes", "Live");
    stream.onmessage = event => { if (event.data !== root.dataset.seen) load(); };
    stream.onerror = () => {
      const refused = stream.readyState === EventSource.CLOSED;
      say("no", "Offline");
      if (refused) setTimeout(listen, 10000);
    };
  };

  document.addEventListener("visibilitychange", () => document.hidden ? stream?.close() : listen());
  const lines = document.getElementById("lines");
  if (lines) lines.scrollTop = lines.scrollHeight;
  setInterval(tick, 1000);
  listen();
})();
