// OHIF's configuration: one data source, this node; nothing that asks another machine; no dialogues before the images.
// The node writes `leveret` in front: its name, and where a session of this role is at home.
const dicomWeb = `${location.origin}/dicom-web`;

const isNarrow = window.innerWidth < 700; // CSS pixels: the images have the width of a phone, not the list

window.config = {
  name: 'leveret',
  routerBasename: '/viewer',
  extensions: [],
  modes: [],
  modesConfiguration: {
    '@ohif/mode-longitudinal': {
      routes: { 0: { layoutInstance: { props: { leftPanelClosed: { $set: isNarrow } } } } },
    },
  },
  tours: [],
  customizationService: [{ 'ohif.tours': { $set: [] } }],
  showStudyList: true,
  showWarningMessageForCrossOrigin: false,
  showCPUFallbackMessage: true,
  showLoadingIndicator: true,
  showErrorDetails: 'dev',
  investigationalUseDialog: { option: 'never' },
  maxNumberOfWebWorkers: 2,
  maxNumRequests: { interaction: 100, thumbnail: 5, prefetch: 25 },
  strictZSpacingForVolumeViewport: true,
  groupEnabledModesFirst: true,
  whiteLabeling: {
    createLogoComponentFn: (React) =>
      React.createElement(
        leveret.home ? 'a' : 'span',
        {
          href: leveret.home || undefined,
          'aria-label': leveret.home ? `Back to ${leveret.name}` : undefined,
          className: 'text-white text-lg font-bold',
        },
        leveret.home ? (isNarrow ? '←' : `← ${leveret.name}`) : leveret.name,
      ),
  },
  defaultDataSourceName: 'leveret',
  dataSources: [
    {
      namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
      sourceName: 'leveret',
      configuration: {
        friendlyName: leveret.name,
        name: 'leveret',
        wadoUriRoot: dicomWeb,
        qidoRoot: dicomWeb,
        wadoRoot: dicomWeb,
        qidoSupportsIncludeField: true,
        imageRendering: 'wadors',
        thumbnailRendering: 'thumbnail',
        thumbnailRequestStrategy: 'fetch',
        enableStudyLazyLoad: true,
        supportsFuzzyMatching: false,
        supportsWildcard: true,
        singlepart: 'bulkdata,pdf,video',
        bulkDataURI: { enabled: true },
        omitQuotationForMultipartRequest: true,
      },
    },
  ],
  httpErrorHandler: (error) => {
    if (error.status === 401) location.reload(); // the session has ended: the node asks to sign in again
  },
};
