// Puts what the daemon says now in the place of what it said before, and touches nothing that is the same: what a person
// has selected, focused or scrolled to stays. Without JavaScript the page reloads itself instead.
(() => {
  const seconds = Number(document.documentElement.dataset.every), silence = document.getElementById("silence");
  let heard = new Date();
  const become = (old, now) => {
    if (old.isEqualNode(now)) return;
    const [mine, theirs] = [[...old.childNodes], [...now.childNodes]];
    if (old.nodeName !== now.nodeName || !mine.length || mine.length !== theirs.length) return old.replaceWith(now);
    for (const { name } of [...old.attributes]) if (!now.hasAttribute(name)) old.removeAttribute(name);
    for (const { name, value } of now.attributes) old.setAttribute(name, value);
    mine.forEach((child, place) => become(child, theirs[place]));
  };
  const look = async () => {
    const answer = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(5000) });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (!answer.ok || !page.querySelector("main")) throw new Error(`status ${answer.status}`);
    for (const part of ["main", "link[rel=icon]"]) become(document.querySelector(part), page.querySelector(part));
    document.title = page.title;
    heard = new Date();
  };
  const again = async () => {
    if (!document.hidden) {
      let answers = true;
      try { await look(); } catch { answers = false; }
      document.body.classList.toggle("old", !answers);
      silence.hidden = answers;
      if (!answers) {
        silence.textContent = `No answer from the daemon since ${heard.toLocaleTimeString()}. This is what it said then:`;
        document.title = `no answer · ${document.title.replace(/^no answer · /, "")}`;
      }
    }
    setTimeout(again, 1000 * seconds);
  };
  document.addEventListener("visibilitychange", () => document.hidden || look().catch(() => {}));
  setTimeout(again, 1000 * seconds);
})();
