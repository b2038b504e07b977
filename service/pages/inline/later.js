{
  // What the page does waits until it has been painted: its scripts would take the time of that.
  const load = () => document.head.append(document.getElementById("later").content);
  // A tab in the background is not painted.
  if (document.hidden) load();
  else {
    requestAnimationFrame(() => requestAnimationFrame(load));
    // Nor is one that goes there meanwhile, or a covered window. What is loaded already is not there again.
    setTimeout(load, 1000);
  }
}
