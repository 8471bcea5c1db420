// Says, above the images, that more of a study are still arriving, and offers to show them once they are here.
(() => {
  const PAUSE = 5000; // milliseconds between two questions about a study that is not whole yet
  const STUDIES = 'studyinstanceuids'; // OHIF writes the parameter's name in several ways
  let address = '';
  let first = new Map(); // how many images of a study there were when it was opened
  let waiting = new Set(); // studies that are to be asked about again
  let asked = 0;
  let bar = null;

  function studiesShown() {
    const found = [...new URLSearchParams(location.search)].filter(([name]) => name.toLowerCase() === STUDIES);
    return found.flatMap(([, value]) => value.split(',')).filter(Boolean).slice(0, 8);
  }

  function say(text, more) {
    if (!text) {
      bar?.remove();
      bar = null;
      return;
    }
    if (!bar) {
      bar = document.createElement('div');
      bar.id = 'leveret-arriving';
      bar.setAttribute('role', 'status');
      Object.assign(bar.style, {
        position: 'fixed', left: '50%', bottom: '1rem', transform: 'translateX(-50%)', zIndex: '9999', display: 'flex',
        gap: '1rem', alignItems: 'center', padding: '.75rem 1.25rem', borderRadius: '.375rem', font: '16px/1.4 sans-serif',
        color: '#212b32', background: '#ffeb3b', boxShadow: '0 2px 12px #000',
      });
      document.body.append(bar);
    }
    const words = document.createElement('span');
    words.textContent = text;
    bar.replaceChildren(words);
    if (more) {
      const button = document.createElement('button');
      button.textContent = 'Show the new ones';
      Object.assign(button.style, { font: 'inherit', fontWeight: 'bold', textDecoration: 'underline', cursor: 'pointer' });
      button.addEventListener('click', () => location.reload());
      bar.append(button);
    }
  }

  async function ask() {
    asked = Date.now();
    const here = address;
    let growing = false;
    let images = 0;
    let fresh = 0;
    for (const study of waiting) {
      const answer = await fetch(`/viewer/arriving?study=${encodeURIComponent(study)}`);
      if (!answer.ok || here !== address) return;
      const told = await answer.json();
      if (!first.has(study)) first.set(study, told.instances);
      images += told.instances;
      fresh += told.instances - first.get(study);
      if (told.state === 'growing') growing = true;
      else waiting.delete(study);
    }
    const now = images === 1 ? '1 image is here' : `${images} images are here`;
    if (growing) say(`This study is still arriving: ${now} so far.`, fresh > 0);
    else if (fresh > 0) say(`The whole study has arrived: ${now}.`, true);
    else say('');
  }

  setInterval(() => {
    if (location.pathname + location.search !== address) {
      address = location.pathname + location.search;
      first = new Map();
      waiting = new Set(studiesShown());
      asked = 0;
      say('');
    }
    if (waiting.size && !document.hidden && Date.now() - asked >= PAUSE) ask().catch(() => {}); // asked again later
  }, 500);
})();
