{
  // The board was true when it was made. It may be seen later: after its link is clicked, behind other tabs, out of the history.
  const look = async () => {
    const answer = await fetch(location.href, { cache: "no-cache" });
    const shown = document.getElementById("board");
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("board");
    if (!(Number(fresh?.dataset.revision) > Number(shown.dataset.revision))) return;
    for (const spare of fresh.querySelectorAll("noscript")) spare.remove();
    for (const waiting of fresh.querySelectorAll("template")) waiting.replaceWith(waiting.content);
    shown.replaceWith(fresh);
  };
  // Who cannot ask keeps what is there.
  const seen = () => document.hidden || look().catch(() => {});
  document.addEventListener("visibilitychange", seen);
  // A browser that has to make a page again for the way back takes the answer that it kept.
  if (performance.getEntriesByType("navigation")[0].type === "back_forward") seen();
}
