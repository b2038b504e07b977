{
  // What stands in templates, scripts and pictures, waits until the page has been painted: it would take the time of that.
  const load = () => {
    for (const waiting of document.querySelectorAll("template")) waiting.replaceWith(waiting.content);
  };
  const wait = () => {
    requestAnimationFrame(() => requestAnimationFrame(load));
    // A page that goes to the background meanwhile is not painted, nor is a covered window. What is loaded already is not there again.
    setTimeout(load, 1000);
  };
  // Nobody may ever see a page that was made before its link was clicked: until then nothing is asked.
  if (document.prerendering) document.addEventListener("prerenderingchange", wait, { once: true });
  // A tab in the background is not painted.
  else if (document.hidden) load();
  else wait();
}
