{
  // What stands in templates, scripts and pictures, waits until the page has been painted: it would take the time of that.
  const load = () => {
    for (const waiting of document.querySelectorAll("template")) waiting.replaceWith(waiting.content);
  };
  // A tab in the background is not painted.
  if (document.hidden) load();
  else {
    requestAnimationFrame(() => requestAnimationFrame(load));
    // Nor is one that goes there meanwhile, or a covered window. What is loaded already is not there again.
    setTimeout(load, 1000);
  }
}
